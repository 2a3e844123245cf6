"""Requests that schemathesis makes from the OpenAPI document, at a server of three sorts of model."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.listening import listening
from tests.serve.logistic import write_logistic
from tests.serve.made_sequences import made, write
from tests.serve.made_shop import write_shop

PROGRAM = Path(sys.executable).parent / "schemathesis"
CONFIGURATION = Path(__file__).parent / "schemathesis.toml"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("schemathesis")
    write(made("events"), folder / "events")
    bundles = (write_logistic(folder / "a"), write_shop(folder / "b"), folder / "events")
    with listening(*bundles, options=("--access-log", "off", "--jobs", str(folder / "jobs"))) as found:
        yield found


def _generated(url: str, folder: Path, *options: str) -> int:
    """How many requests were made; none of them may have found anything."""
    done = subprocess.run(
        [str(PROGRAM), "--config-file", str(CONFIGURATION), "run", f"{url}/openapi.json", "--no-color", "--seed", "1",
         "--suppress-health-check", "all", *options],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    found = re.search(r"(\d[\d,]*) generated", done.stdout)
    assert found is not None, done.stdout[-2000:]
    return int(found[1].replace(",", ""))


def test_generated_requests_find_nothing(url: str, tmp_path: Path) -> None:
    assert _generated(url, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "2") > 20


@pytest.mark.slow
def test_five_thousand_generated_requests_find_nothing(url: str, tmp_path: Path) -> None:
    count = _generated(url, tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "250")
    print(count)
    assert count >= 5000
