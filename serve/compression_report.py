"""`ludocast compression-report`: a page of what a training with 1-bit gradients sent, and where its time went."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.whole_files import write_whole
from ludocast.serve import compression_words as words
from ludocast.serve.charts import Series, line_chart, nice_top, spark_line
from ludocast.serve.compression_record import FP32, STAGES, CompressionRun, Layer, Step, milliseconds, read_run
from ludocast.serve.page import render_page
from markupsafe import Markup

DRAWN = 4  # layers in one chart
LISTED = 40  # layers before a fold
POINTS = 40  # of a line over time
IN_WORDS = {
    "quantise": "quantise: cut into signs, and the owner's adding up",
    "exchange": "exchange: on the network",
    "decode": "decode: signs into gradients",
}


def compression_report(run: Path, out: Path | None = None) -> None:
    """Show what a training with 1-bit gradients sent, and where the time of its steps went.

    Reads RUN/compression.json, which a training on several processes with --compression onebit or auto writes, as does
    write_record(state, "run/compression.json") of ludocast.compression.record in a loop of your own. Prints a summary
    and writes RUN/compression.html (open it in a browser): bytes a step beside fp32's, milliseconds of quantising,
    exchange and decoding and what backward waited for, bits a value of each layer, and what is left to be sent.

    Example: ludocast compression-report run

    Args:
        run: Folder of the run, or its compression.json.
        out: Where the page goes; by default beside compression.json.
    """
    found = read_run(run)
    page = out if out is not None else (run.parent if run.is_file() else run) / "compression.html"
    name = run.absolute().parent.name if run.is_file() else run.absolute().name
    write_whole(page, render(found, name).encode())
    print(_printable(words.terminal(found)))
    print(f"\n{page}: open it in a browser")


def _printable(text: str) -> str:
    """Text for a terminal that may know no bars."""
    encoding = sys.stdout.encoding if sys.stdout.encoding is not None else "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate({ord(block): "#" for block in "▏▎▍▌▋▊▉█"})
        text = text.encode(encoding, "replace").decode(encoding)
    return text


def render(run: CompressionRun, name: str) -> str:
    """The page: one file, no script, nothing from elsewhere."""
    layers = sorted(run.layers, key=lambda layer: -layer.elements) if len(run.layers) > LISTED else list(run.layers)
    top = nice_top(max((ratio for layer in layers for _, ratio in layer.residual), default=1.0) or 1.0)
    context = _of_steps(run) if run.compressed else {"rows": []}
    return render_page(
        "compression.html.jinja",
        run=run,
        name=name,
        words=words,
        lead=words.lead(run),
        auto=words.auto(run),
        settings=_settings(run),
        layers=[_row(layer, top) for layer in layers[:LISTED]],
        more_layers=[_row(layer, top) for layer in layers[LISTED:]],
        residual_chart=_residual_chart(run.layers, top),
        **context,
    )


def _row(layer: Layer, top: float) -> dict[str, Any]:
    spark = spark_line([ratio for _, ratio in layer.residual], top, f"residual of {layer.name} over time")
    return {"layer": layer, "width": 100 * layer.bits / FP32, "spark": spark if layer.residual else ""}


def _of_steps(run: CompressionRun) -> dict[str, Any]:
    """What only compressed steps tell."""
    stages = {kind: milliseconds(run.measured, kind) or 0.0 for kind in STAGES}
    total = sum(stages.values())
    whole, wait = milliseconds(run.measured, "whole"), milliseconds(run.measured, "wait") or 0.0
    plain = milliseconds(run.averaged_plainly, "whole") if words.compared(run) else None
    scale = max(total, wait, whole or 0.0, plain or 0.0, 1e-9)
    return {
        "stages": [
            {"kind": kind, "words": IN_WORDS[kind], "ms": ms, "share": ms / max(total, 1e-9), "width": 100 * ms / scale}
            for kind, ms in stages.items()
        ],
        "rows": [
            {"words": title, "ms": ms, "class": style, "width": 100 * ms / scale}
            for title, ms, style in (
                ("wait: what backward waited for", wait, "b3"),
                ("the whole step, as bits", whole, "b4"),
                ("the whole step, averaged plainly", plain, "b4"),
            )
            if ms is not None
        ],
        "total": total,
        "which": words.which_steps(run),
        "time_chart": _time_chart(run.measured),
    }


def _time_chart(steps: list[Step]) -> Markup:
    """Medians of neighbouring steps."""
    parts = np.array_split(np.arange(len(steps)), min(POINTS, len(steps)))
    at = [float(np.mean([steps[i].step for i in part])) for part in parts]
    lines = [
        Series(kind, at, [milliseconds([steps[i] for i in part], kind) or 0.0 for part in parts], marks=len(parts) == 1)
        for kind in (*STAGES, "wait")
    ]
    highest = max(float(value) for line in lines for value in line.y)
    return line_chart(
        "Milliseconds over the training", lines, "step", "ms", _over(steps[-1].step), (0.0, nice_top(highest or 1.0))
    )


def _residual_chart(layers: tuple[Layer, ...], top: float) -> Markup:
    """The layers with most values."""
    known = sorted((layer for layer in layers if layer.residual), key=lambda layer: -layer.elements)[:DRAWN]
    if not known:
        return Markup()
    lines = [
        Series(layer.name, [step for step, _ in layer.residual], [ratio for _, ratio in layer.residual], marks=True)
        for layer in known
    ]
    last = max(layer.residual[-1][0] for layer in known)
    title = "Residual / gradient" + (f", the {DRAWN} largest layers" if len(known) == DRAWN else "")
    return line_chart(title, lines, "step", "norm of residual / norm of gradient", _over(last), (0.0, top))


def _over(last: int) -> tuple[float, float]:
    return 0.0, nice_top(max(last, 4))


def _settings(run: CompressionRun) -> list[tuple[str, str]]:
    averages = int(run.settings.get("width", 1))
    rows = [
        ("processes", words.who(run)),
        ("steps", f"{run.total_steps:,}; {run.compressed:,} as bits, {run.plain:,} averaged plainly"),
        ("parameters", f"{run.elements:,} values in {len(run.layers):,} layers"),
        ("device", run.device),
        ("averages are sent in", f"{averages} bit" + ("" if averages == 1 else "s") + " a value"),
    ]
    names = (
        ("warmup_steps", "warm-up steps"), ("delay", "delay, in steps"), ("row_length", "values that share two levels"),
        ("smallest", "compressed from … values on"),
    )  # fmt: skip
    return rows + [(title, f"{int(run.settings[name]):,}") for name, title in names if name in run.settings]
