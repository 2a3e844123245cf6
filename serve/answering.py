"""From calls to answers: calls that wait together are scored together, as if each had come alone."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ludocast.serve.calls import Answer, Call
from ludocast.serve.codecs.codec import Table
from ludocast.serve.codecs.limits import check_columns, check_records
from ludocast.serve.codecs.table import CODECS
from ludocast.serve.http.message import RefusedError
from ludocast.serve.manifest import Manifest
from ludocast.serve.observe.inputs import InputCounter, InputCounts, add_counts
from ludocast.serve.scorer import Predictions, Scorer


class Answering:
    """Answers calls by the bundles that it has loaded; may be used from several threads at once.

    Args:
        threads: That onnxruntime may use for one call.
        device: "cpu" or "cuda".
    """

    def __init__(self, threads: int = 1, device: str = "cpu") -> None:
        self._threads, self._device = threads, device
        self._scorers: dict[str, Scorer] = {}
        self._inputs: dict[str, InputCounter] = {}
        self._unloaded: list[InputCounter] = []  # whose last counts nobody has taken yet

    def load(self, key: str, bundle: Path) -> Manifest:
        """Load a bundle under a key, with its checks.

        Raises:
            ValueError: If it is damaged, too new, or does not reproduce its check rows.
        """
        scorer = Scorer.load(bundle, self._threads, self._device)
        self._inputs[key] = InputCounter(scorer.manifest)
        self._scorers[key] = scorer
        return scorer.manifest

    def unload(self, key: str) -> None:
        """Forget a bundle."""
        if self._scorers.pop(key, None) is not None:
            self._unloaded.append(self._inputs.pop(key))

    def take_inputs(self) -> InputCounts:
        """What was counted of the inputs of rows that were predicted, since this was asked last."""
        unloaded, self._unloaded = self._unloaded, []
        found: InputCounts = {}
        for counter in (*unloaded, *self._inputs.values()):
            add_counts(found, counter.take())
        return found

    def answer(self, calls: Sequence[Call]) -> list[Answer]:
        """One answer a call; what is wrong with one is told to that one alone."""
        answers: dict[int, Answer] = {}
        tables: dict[int, Table] = {}
        # Records of the same names ignore the same columns, so they may share a run and each keeps its own warnings.
        alike: dict[tuple[str, ...], list[int]] = {}
        for number, call in enumerate(calls):
            try:
                table = _read(call, self._scorers[call.model].manifest)
            except Exception as error:
                answers[number] = _refused(error)
                continue
            tables[number] = table
            if table.rows is not None and len(table.rows) == 1:
                alike.setdefault((call.model, *table.rows[0]), []).append(number)
            else:
                answers[number] = self._alone(call, table)
        for numbers in alike.values():
            answers |= zip(
                numbers, self._together([calls[n] for n in numbers], [tables[n] for n in numbers]), strict=True
            )
        return [answers[number] for number in range(len(calls))]

    def _alone(self, call: Call, table: Table) -> Answer:
        scorer = self._scorers[call.model]
        try:
            if table.rows is not None:
                found = scorer.predict_rows(table.rows)
            else:
                assert table.columns is not None
                found = scorer.predict_columns(table.columns)
            answer = _written(scorer, call, table, found)
        except Exception as error:
            return _refused(error)
        self._count(call, found)
        return answer

    def _count(self, call: Call, found: Predictions) -> None:
        counter = self._inputs.get(call.model)
        if counter is not None and found.feeds is not None:
            try:
                counter.add(found.feeds)
            except Exception as error:  # an answer is not lost because it could not be counted
                traceback.print_exception(error, file=sys.stderr)

    def _together(self, calls: Sequence[Call], tables: Sequence[Table]) -> list[Answer]:
        """Of one record each, with the same names, to the same model."""
        if len(calls) > 1:
            scorer = self._scorers[calls[0].model]
            try:
                found = scorer.predict_rows([table.rows[0] for table in tables if table.rows is not None])
                if not found.notes:  # which do not tell whose row they are of
                    parts = (_row(found, row) for row in range(len(calls)))
                    answers = [_written(scorer, *one) for one in zip(calls, tables, parts, strict=True)]
                    self._count(calls[0], found)
                    return answers
            except Exception:  # of one of them, which is told so below
                pass
        return [self._alone(call, table) for call, table in zip(calls, tables, strict=True)]


def _read(call: Call, manifest: Manifest) -> Table:
    table = CODECS[call.codec].read(call.body, call.options, manifest)
    if table.rows is not None:
        check_records(table.rows, manifest, len(call.body))
    elif table.columns is not None:
        check_columns(table.columns, manifest, len(call.body))
    return table


def _row(found: Predictions, row: int) -> Predictions:
    here = slice(row, row + 1)
    because = None if found.because is None else found.because[here]
    return Predictions(found.labels[here], found.probabilities[here], found.ignored, because=because)


def _written(scorer: Scorer, call: Call, table: Table, found: Predictions) -> Answer:
    written = CODECS[call.codec].write(scorer.manifest, table, found)
    return Answer(200, written.body, written.content_type, written.headers, rows=len(found.labels))


def _refused(error: Exception) -> Answer:
    if isinstance(error, RefusedError):
        return Answer(error.status, headers=error.headers, error=str(error))
    if isinstance(error, ValueError):
        return Answer(422, error=str(error))
    traceback.print_exception(error, file=sys.stderr)
    return Answer(500, error="the server failed to score this request; its log tells why")
