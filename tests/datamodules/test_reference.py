import json
from dataclasses import replace

import numpy as np
import pytest
from ludocast.datamodules.reference import FEWEST, Reference, class_counts, describe_column, read_reference

NAN = float("nan")


def test_counts_by_hand() -> None:
    column = describe_column("level", "number", np.repeat(np.array([1, 2, 3, 3, NAN], np.float32), 5))
    assert column.edges == (2.0, 3.0)
    assert (column.counts, column.missing, column.rows) == ((5, 5, 10), 5, 25)
    later = column.count(np.array([-7, 1.5, 2, 2.5, 900, NAN], np.float32))
    assert (later.counts, later.missing) == ((2, 2, 1), 1)


def test_names_by_hand() -> None:
    values = np.array(["a", "b", "", "b", "c", "c", "c"], object)
    column = describe_column("plan", "category", values)
    assert column.names == ("c", "b", "a")
    assert (column.counts, column.others, column.missing) == ((3, 2, 1), 0, 1)
    assert column.lists_all
    private = describe_column("plan", "category", values, rare=2)
    assert (private.names, private.counts, private.others) == (("c", "b"), (3, 2), 1)
    assert not private.lists_all
    later = column.count(np.array(["new", "", "c"], object))
    assert (later.counts, later.others, later.missing) == ((1, 0, 0), 1, 1)


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 173, 5000])
def test_no_bin_is_of_few_rows_and_no_edge_is_a_rows_value(rows: int) -> None:
    generator = np.random.default_rng(rows)
    values = generator.lognormal(3, 2, rows).astype(np.float32)
    column = describe_column("spend", "number", values)
    assert column.rows == rows
    assert column.edges is not None
    assert len(column.counts) == len(column.edges) + 1
    assert list(column.edges) == sorted(set(column.edges))
    if rows >= FEWEST:
        assert min(column.counts) >= FEWEST
    assert not set(np.array(column.edges, np.float32).tolist()) & set(values.tolist())
    if rows == 5000:  # as fine as the quantiles
        assert max(column.counts) <= 120
        assert len(column.counts) >= 90


def test_pieces_add_up() -> None:
    generator = np.random.default_rng(0)
    values = np.where(generator.random(700) < 0.1, NAN, generator.normal(size=700)).astype(np.float32)
    column = describe_column("x", "number", values)
    assert column.count(values[:300]) + column.count(values[300:]) == column.count(values)
    assert column.count(values) == column


def test_the_file_gives_the_same_back_and_refuses_what_is_none() -> None:
    number = describe_column("x", "number", np.arange(50, dtype=np.float32))
    text = describe_column("y", "category", np.array(["가", "b"] * 9, object))
    reference = Reference((class_counts("churned", {"no": 30, "yes": 20}),), (number,), (number, text))
    content = reference.to_json()
    assert read_reference(content) == reference
    of_a_number = replace(reference, labels=(replace(number, kind="label"),))
    assert read_reference(of_a_number.to_json()) == of_a_number
    several = replace(reference, labels=reference.labels * 2, scores=(number, number))
    assert json.loads(several.to_json())["format"] == 3
    assert read_reference(several.to_json()) == several
    document = json.loads(content)
    older = {**document, "format": 1, "label": "churned", "classes": {"no": 30, "yes": 20}}
    assert read_reference(json.dumps(older).encode()) == reference
    for change in (
        {"format": 9}, {"columns": 3}, {"label": "churned"}, {"format": 1, "classes": {"no": -1}}, {"score": {**document["score"], "counts": [1]}},
        {"score": {**document["score"], "edges": document["score"]["edges"][::-1]}},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="not as training writes it"):
            read_reference(json.dumps({**document, **change}).encode())
    with pytest.raises(ValueError, match="not as training writes it"):
        read_reference(b"[" * 100_000)
