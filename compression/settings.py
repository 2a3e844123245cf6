"""Settings of the hook."""

from __future__ import annotations

from dataclasses import dataclass

from ludocast.compression.plan import SMALLEST
from ludocast.compression.quantise import WIDTHS


@dataclass(frozen=True)
class OneBitSettings:
    """What all ranks have to agree on.

    Attributes:
        warmup_steps: Steps of plain averaging before the first compressed one.
        delay: 1 applies each average one step late, so that the exchange overlaps the next step (double buffering,
            section 3.2 of the paper); 0 does not.
        width: Bits a value of the averages that owners send to all: 1, 4 or 8; what ranks send owners is 1 bit.
        row_length: Elements that share a value, about.
        smallest: Elements from which a tensor of two dimensions or more is compressed.
        auto: Compress a bucket only where that is faster than plain averaging, as timed after the first step.
        auto_every: Steps after which `auto` compares again.
        ranks_per_host: Neighbouring ranks that average uncompressed before one of them exchanges with other hosts;
            None: as torchrun says where there are several hosts.
    """

    warmup_steps: int = 0
    delay: int = 0
    width: int = 1
    row_length: int = 2048
    smallest: int = SMALLEST
    auto: bool = False
    auto_every: int = 1000
    ranks_per_host: int | None = None

    def __post_init__(self) -> None:
        for name, low in (("warmup_steps", 0), ("row_length", 8), ("smallest", 1), ("auto_every", 2)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {low} or more, got {getattr(self, name)}")
        if self.delay not in (0, 1):
            raise ValueError(f"delay is 0 or 1, got {self.delay}")
        if self.width not in WIDTHS:
            raise ValueError(f"width is 1, 4 or 8 bits, got {self.width}")
        if self.auto and self.delay:
            raise ValueError("auto changes between averages that come at once and late ones; leave delay at 0")
