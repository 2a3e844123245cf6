"""Ranks and normalised scores of a benchmark's lines, by hand."""

from __future__ import annotations

from typing import Any

from benchmarks.table_report import report


def line(table: str, fold: int, contestant: str, score: float, **more: Any) -> dict[str, Any]:
    measure = "AUC" if table == "leavers" else "RMSE"
    return {
        "table": table, "fold": fold, "contestant": contestant, "score": score, "measure": measure, "rows": 100,
        "seconds": 2.0, **more,
    }  # fmt: skip


def test_ranks_and_normalised_scores_are_of_the_means_over_complete_folds() -> None:
    lines = [
        line("leavers", 0, "ours", 0.9), line("leavers", 1, "ours", 0.8),  # mean 0.85
        line("leavers", 0, "peer", 0.8), line("leavers", 1, "peer", 0.7),  # 0.75, the worst
        line("leavers", 0, "other", 0.9), line("leavers", 1, "other", 0.7),  # 0.8, half way
        line("leavers", 2, "ours", 0.1),  # not done by all
        line("prices", 0, "ours", -5.0, inside=93), line("prices", 0, "peer", -4.0), line("prices", 0, "other", -4.0),
    ]  # fmt: skip
    told = report(lines)
    assert "2 tables, 3 folds in all; 1 folds left out" in told
    # leavers: 1, 3, 2; prices: 3 and twice 1.5.
    assert "| ours | 2.00 | 0.500 | 1 |" in told
    assert "| peer | 2.25 | 0.500 | 1 |" in told
    assert "| other | 1.75 | 0.750 | 1 |" in told
    assert "| leavers (AUC) | 0.8 | **0.85** | 0.75 |" in told
    assert "| prices (RMSE) | **4** | 5 | **4** |" in told
    assert "| prices by ours | 93 of 100 | 93.0% | 86.1% to 97.1% |" in told
