def available() -> list[str]: ...
def quantise(
    kernel: str,
    gradient: int,
    bf16: bool,
    residual: int,
    next_residual: int,
    means: int,
    next_means: int,
    rows: int,
    messages: int,
    senders: int,
    width: int,
    stream: bool,
    /,
) -> bool: ...
def decode(
    kernel: str,
    rows: int,
    messages: int,
    out: int,
    scale: float,
    accumulate: bool,
    learning: bool,
    width: int,
    stream: bool,
    /,
) -> None: ...
def learn(kernel: str, rows: int, messages: int, /) -> None: ...
