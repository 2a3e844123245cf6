"""What a training's compression record says, in words and short numbers, for the page and the terminal alike."""

from __future__ import annotations

from ludocast.serve.compression_record import FP32, STAGES, CompressionRun, Layer, milliseconds

ENOUGH = 3  # plain steps from which their median is worth a comparison


def size(count: float) -> str:
    """Bytes in three digits."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{_three(count / unit)} {name}"
    return f"{count:.0f} bytes"


def duration(value: float) -> str:
    """Milliseconds in three digits."""
    return f"{_three(value)} ms"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def fewer(run: CompressionRun) -> str:
    """The bytes sent as a share of fp32's."""
    return f"1/{run.times_fewer:.1f}"


def steps(count: int) -> str:
    """1 step, 2 steps."""
    return f"{count:,} step" + ("" if count == 1 else "s")


def who(run: CompressionRun) -> str:
    """The processes."""
    if run.ranks_per_host == 1:
        return f"{run.ranks} process" + ("" if run.ranks == 1 else "es")
    return f"{run.ranks} processes, {run.ranks_per_host} a host"


def why_nothing(run: CompressionRun) -> str:
    """Why no step was compressed."""
    warmup = int(run.settings.get("warmup_steps", 0))
    if run.ranks == 1:
        return "One process trained alone and has nobody to send gradients to; start several."
    if run.speakers == 1:
        return "All processes spoke through one, as those of one host do; between several hosts bits would go."
    if run.decisions:
        return f"auto chose so. {run.decisions[-1][1]}."
    if 0 < run.total_steps <= warmup:
        return f"The warm-up averages plainly for {steps(warmup)}, and the training had {run.total_steps:,}."
    if run.settings.get("auto"):
        return "auto compares after the first step, and the training ended before."
    return "No gradient was averaged while the hook was there."


def lead(run: CompressionRun) -> list[str]:
    """The page's first sentences."""
    if not run.compressed:
        return [
            f"Nothing was compressed in this training of {steps(run.total_steps)} on {who(run)}. {why_nothing(run)}"
        ]
    found = [
        f"A step sent {size(run.step_bytes)} instead of {size(run.fp32_bytes)} as fp32: {fewer(run)}.",
        f"{who(run)[0].upper()}{who(run)[1:]}; {steps(run.compressed)} as bits, {run.plain:,} averaged plainly.",
    ]
    if all(layer.bits == FP32 for layer in run.layers):
        smallest = int(run.settings.get("smallest", 0))
        found.append(f"No layer of two dimensions has {smallest:,} values or more, so all went as they are.")
    whole, wait = milliseconds(run.measured, "whole"), milliseconds(run.measured, "wait")
    if whole is not None and wait is not None:
        found.append(f"Of {duration(whole)} a step, backward waited {duration(wait)} for the exchange to end.")
    if compared(run):
        plain = milliseconds(run.averaged_plainly, "whole")
        found.append(f"The plain steps took {duration(plain if plain is not None else 0)} each.")
    return found


def compared(run: CompressionRun) -> bool:
    """Whether there are plain steps enough to set beside the compressed ones."""
    return sum(step.seconds["whole"] > 0 for step in run.averaged_plainly) >= ENOUGH


def which_steps(run: CompressionRun) -> str:
    """Over which steps the medians go."""
    measured = run.measured
    first, last = measured[0].step, measured[-1].step
    left_out = "without warm-up" + (", auto's trials" if run.settings.get("auto") else "")
    kept = "" if len(run.steps) >= run.compressed + run.plain else ", evenly spaced ones of a longer training"
    return (
        f"Medians over {len(measured):,} compressed steps from {first:,} to {last:,}{kept}; {left_out} and the first "
        "compressed step, which allocates."
    )


def auto(run: CompressionRun) -> list[str]:
    """What `auto` decided."""
    warmup = int(run.settings.get("warmup_steps", 0))
    if not run.settings.get("auto"):
        after = f" after the warm-up of {steps(warmup)}" if warmup else ""
        return [f"auto was off: every step{after} was to be sent as bits, whether that is faster or not."]
    if not run.decisions:
        return ["auto had not compared yet."]
    left_out = f"{len(run.decisions) - 5:,} earlier comparisons, then: " if len(run.decisions) > 5 else ""
    return [
        f"{left_out if i == 0 else ''}step {step:,}: {words}." for i, (step, words) in enumerate(run.decisions[-5:])
    ]


def last_residual(layer: Layer) -> str:
    """The newest residual over gradient."""
    return f"{layer.residual[-1][1]:.2f}" if layer.residual else "–"


def terminal(run: CompressionRun, width: int = 32, most: int = 12) -> str:
    """A summary in plain text, with bars.

    Args:
        run: What was read.
        width: Characters of the longest bar.
        most: Layers that are listed.
    """
    lines = lead(run)
    if run.compressed:
        lines += ["", "bytes a step", _line("fp32", run.fp32_bytes, run.fp32_bytes, width, size(run.fp32_bytes))]
        sent = f"{size(run.step_bytes)}   {fewer(run)}"
        lines += [_line("sent", run.step_bytes, run.fp32_bytes, width, sent), "", "milliseconds a step"]
        times = {kind: milliseconds(run.measured, kind) for kind in (*STAGES, "wait", "whole")}
        top = max(value for value in times.values() if value is not None)
        lines += [_line(kind, t, top, width, duration(t)) for kind, t in times.items() if t is not None]
        lines += ["  quantise, exchange and decode run beside backward; wait is what backward waited for", ""]
        lines += ["bits a value"]
        shown = sorted(run.layers, key=lambda layer: -layer.elements)[:most]
        lines += [_layer(layer, width) for layer in shown]
        rest = len(run.layers) - len(shown)
        lines += [f"  … and {rest:,} smaller"] if rest else []
    return "\n".join([*lines, "", *auto(run)])


def _line(name: str, value: float, top: float, width: int, text: str) -> str:
    return f"  {name:<9} {blocks(value / top if top > 0 else 0, width)} {text}"


def _layer(layer: Layer, width: int) -> str:
    name = layer.name if len(layer.name) <= 24 else "…" + layer.name[-23:]
    kept = f"  residual/gradient {last_residual(layer)}" if layer.residual else ""
    return f"  {name:<24} {layer.elements:>13,} × {blocks(layer.bits / FP32, width // 2)} {layer.bits:5.2f}{kept}"


def blocks(share: float, width: int) -> str:
    """A bar of eighths of a character; what is above 0 is seen."""
    eighths = max(round(8 * width * share), 1 if share > 0 else 0)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width)
