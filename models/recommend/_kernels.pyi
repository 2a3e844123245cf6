def best(
    users: int,
    items: int,
    k: int,
    history_starts: int,
    history_items: int,
    starts: int,
    columns: int,
    values: int,
    popularities: int,
    items_out: int,
    scores_out: int,
    /,
) -> None: ...
