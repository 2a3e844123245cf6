"""Options of a server that cannot be are told in one sentence, before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ludocast.serve.http.listen import open_socket, tls
from ludocast.serve.options import Listening, Scoring


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"port": 65536}, "--port is a number up to 65535, got 65536"),
        ({"drain": -1.0}, "--drain is 0 or more seconds, got -1.0"),
        ({"drain": float("nan")}, "--drain is 0 or more seconds, got nan"),
        ({"tls_key": Path("key")}, "--tls-certificate and --tls-key belong together"),
    ],
)
def test_where_a_server_cannot_listen(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Listening(**options)


@pytest.mark.parametrize("options", [{"threads": 2}, {"device": "cuda"}])
def test_torchserve_has_one_thread_and_no_gpu(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="leave out --threads and --device"):
        Scoring(torchserve=True, **options)


def test_addresses_and_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot listen on port 0 of 192\.0\.2\.1: "):  # RFC 5737: of no machine
        open_socket("192.0.2.1", 0)
    with pytest.raises(ValueError, match=r"--host a\.b\.invalid: "):  # RFC 6761: never a name
        open_socket("a.b.invalid", 0)
    with pytest.raises(ValueError, match=r"server\.pem and .*server\.key are no certificate and its key: No such file"):
        tls(tmp_path / "server.pem", tmp_path / "server.key")
