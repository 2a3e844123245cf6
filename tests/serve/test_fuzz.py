"""A fast part of `benchmarks/serving_fuzz.py`: every kind of request, at a server of each sort of model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ludocast.serve.bundle import Bundle

from tests.serve.fuzzing import Fuzz, Tally, send_all
from tests.serve.listening import served
from tests.serve.logistic import write_logistic
from tests.serve.made_sequences import made, write
from tests.serve.made_shop import write_shop


def _events(folder: Path) -> Path:
    write(made("events"), folder)
    return folder


@pytest.mark.parametrize("make", [write_logistic, write_shop, _events])
def test_no_request_is_answered_wrongly(make: Callable[[Path], Path], tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    manifest = Bundle.load(bundle).manifest
    tally = Tally()
    with served(bundle) as url:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        send_all((parts.hostname, parts.port), iter(Fuzz(manifest, seed=1)), 600, tally)
    assert tally.findings == {}
    assert tally.count == 600
    assert {status for _, status in tally.answers} >= {200, 400, 404, 405, 413, 422}
