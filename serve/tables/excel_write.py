"""XLSX (ECMA-376) of one sheet, written row by row.

Texts stand in their cells, so that nothing has to be held; the archive tells no time, so that the same rows are the
same bytes; and nothing but text and numbers is written, so that no cell is a formula.
"""

from __future__ import annotations

import math
import re
import zipfile
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

import pyarrow as pa
from ludocast.serve.tables.excel_read import MOST_ROWS

LONGEST_TEXT = 32_767  # characters of a cell, by Excel's own limit
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that an archive can tell
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, 2.2
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_FORMATS = "application/vnd.openxmlformats-"
_SCHEMAS = "http://schemas.openxmlformats.org"
_MAIN = f"{_SCHEMAS}/spreadsheetml/2006/main"
_RELATIONS = f"{_SCHEMAS}/officeDocument/2006/relationships"
_PACKAGE = f"{_SCHEMAS}/package/2006"
_SHEET = "xl/worksheets/sheet1.xml"
_OTHERS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    f'<Default Extension="rels" ContentType="{_FORMATS}package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_FORMATS}officedocument.spreadsheetml.sheet.main+xml"/>'
    f'<Override PartName="/{_SHEET}" ContentType="{_FORMATS}officedocument.spreadsheetml.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}">'
    '<sheets><sheet name="scored" sheetId="1" r:id="rId1"/></sheets></workbook>',
}


class ExcelWriter:
    """A book of one sheet.

    Args:
        file: That gets it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._archive = zipfile.ZipFile(file, "w")
        for name, content in _OTHERS.items():
            self._archive.writestr(_entry(name), _HEAD + content)
        self._sheet = self._archive.open(_entry(_SHEET), "w", force_zip64=True)
        self._sheet.write(f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        """See `Writer.write`."""
        if self._rows == 0:
            self._append([table.schema.names])
        if self._rows + table.num_rows > MOST_ROWS:
            raise ValueError(f"a sheet of XLSX holds {MOST_ROWS - 1:,} rows below its header; write CSV or Parquet")
        self._append(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def close(self) -> None:
        """See `Writer.close`."""
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()
        self._archive.close()

    def _append(self, rows: Any) -> None:
        lines = [f"<row>{''.join(map(_cell, row))}</row>" for row in rows]
        self._sheet.write("".join(lines).encode())
        self._rows += len(lines)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, (int, float)) and math.isfinite(value):
        return f"<c><v>{value!r}</v></c>"
    text = str(value)
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"a cell of XLSX holds {LONGEST_TEXT:,} characters, one here has {len(text):,}")
    if _ILLEGAL.search(text):
        raise ValueError(f"XLSX cannot hold the text {text[:40]!r}; write CSV or Parquet")
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'
