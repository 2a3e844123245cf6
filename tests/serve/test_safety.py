"""Keys, scopes, rates, origins and TLS, on real servers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ludocast.serve.client import Client
from ludocast.serve.client_http import UnreachableError
from ludocast.serve.http.message import RefusedError, Request
from ludocast.serve.safety.guard import Bucket, KeyGuard, OpenGuard
from ludocast.serve.safety.keys import KeyFile, Rate, new_key, read_keys

from ludocast.__main__ import main
from tests.serve.listening import ROOT, ask, listening, self_signed, served
from tests.serve.logistic import write_logistic

ROW = {"age": 30, "plan": "pro", "active": True, "last seen ": 1_700_086_400}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("safe") / "bundle")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def _add(keys: Path, name: str, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["keys", "add", name, "--keys", str(keys), *words]) == 0
    return capsys.readouterr().out.strip()


def _with(key: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **headers}


def test_a_key_is_printed_once_and_kept_as_its_hash(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = _add(keys, "shop", "--scopes", "predict,jobs", "--rate", "100/s", capsys=capsys)
    assert len(key) == len("ludocast_") + 43  # 256 bits in base 64
    text = keys.read_text()
    assert key not in text
    assert key.removeprefix("ludocast_") not in text
    assert json.loads(text)["keys"][0]["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    if os.name == "posix":
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert main(["keys", "list", "--keys", str(keys)]) == 0
    assert capsys.readouterr().out.split()[:3] == ["shop", "predict,jobs", "100/s"]
    assert main(["keys", "add", "shop", "--keys", str(keys)]) == 2
    assert 'has a key "shop"' in capsys.readouterr().err
    assert main(["keys", "remove", "shop", "--keys", str(keys)]) == 0
    assert read_keys(keys) == []
    assert main(["keys", "remove", "shop", "--keys", str(keys)]) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("a b",), "letters, digits"),
        (("a\n",), "letters, digits"),
        (("a", "--scopes", "predict,all"), "got all"),
        (("a", "--rate", "0/s"), "expected requests a second"),
        (("a", "--rate", "5"), "expected requests a second"),
    ],
)
def test_what_is_no_key_is_refused(
    keys: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert main(["keys", "add", *words, "--keys", str(keys)]) == 2
    assert sentence in capsys.readouterr().err
    assert list(keys.parent.iterdir()) == []


def test_of_two_who_change_keys_at_once_one_is_refused(keys: Path) -> None:
    with KeyFile(keys) as first:
        with pytest.raises(ValueError, match="keys are being changed"), KeyFile(keys):
            pass
        first.keys.append(new_key("a", ["admin"])[1])
    assert [key.name for key in read_keys(keys)] == ["a"]
    keys.write_text('{"keys": [{"name": "a"}]}')
    with pytest.raises(ValueError, match="no file of keys"), KeyFile(keys):
        pass
    assert list(keys.parent.iterdir()) == [keys]


def test_a_bucket_gives_what_its_rate_says() -> None:
    bucket = Bucket(Rate.read("3/min"), 100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(100.0) == pytest.approx(20)  # a token each 20 s
    assert bucket.take(110.0) == pytest.approx(10)
    assert bucket.take(120.0) == 0
    assert bucket.take(120.0) == pytest.approx(20)
    assert [bucket.take(1_000.0) for _ in range(4)] == [0, 0, 0, pytest.approx(20)]  # never more than a period's


def _asked(**headers: str) -> Request:
    return Request("POST", "/predict", {name.replace("_", "-"): value for name, value in headers.items()})


def test_a_rate_is_kept_when_the_file_is_read_again(keys: Path) -> None:
    secret, key = new_key("shop", ["predict"], "2/h")
    with KeyFile(keys) as file:
        file.keys.append(key)
    now = [0.0]
    guard = KeyGuard(keys, lambda: now[0])
    request = _asked(authorization=f"bearer {secret}")
    guard(request, "predict")
    assert request.key == "shop"
    guard(request, "")  # what is open to all takes no token
    with KeyFile(keys) as file:
        file.keys.append(new_key("other", ["admin"])[1])
    now[0] = 1.0
    guard(request, "predict")
    with pytest.raises(RefusedError) as refused:
        guard(request, "predict")
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == "1799"  # 2 were taken, 1 s has refilled 1/1800
    keys.write_text("{")
    now[0] = 1800.1
    guard(request, "predict")  # a broken file changes nothing
    with KeyFile(keys.with_name("new")) as file:
        file.keys.append(new_key("other", ["admin"])[1])
    os.replace(keys.with_name("new"), keys)
    now[0] = 4000.0
    with pytest.raises(RefusedError, match="knows no such key"):
        guard(request, "predict")


@pytest.mark.parametrize(
    ("headers", "fits"),
    [
        ({"host": "127.0.0.1:8080"}, True),
        ({"host": "localhost"}, True),
        ({"host": "[::1]:8080"}, True),
        ({"host": "studio.localhost:1"}, True),
        ({"host": "evil.example:8080"}, False),  # a name that now points here
        ({"host": "evil.example:8080", "origin": "http://evil.example:8080", "sec_fetch_site": "same-origin"}, False),
        ({"host": "localhost.evil.example"}, False),
        ({"host": "127.0.0.1:8080@evil.example"}, False),
        ({"host": "127.0.0.1:8080", "origin": "http://127.0.0.1:8080", "sec_fetch_site": "same-origin"}, True),
        ({"host": "127.0.0.1:8080", "origin": "http://127.0.0.1:3000"}, False),
        ({"host": "127.0.0.1:8080", "origin": "null"}, False),
        ({"host": "127.0.0.1:8080", "origin": "https://evil.example"}, False),
        ({"host": "127.0.0.1:8080", "sec_fetch_site": "cross-site"}, False),
        ({"host": "127.0.0.1:8080", "sec_fetch_site": "same-site"}, False),
        ({"host": "127.0.0.1:8080", "sec_fetch_site": "none"}, True),
    ],
)
def test_pages_of_other_sites_are_refused_by_a_server_without_keys(headers: dict[str, str], fits: bool) -> None:
    guard = OpenGuard(is_loopback=True)
    if fits:
        guard(_asked(**headers), "predict")
    else:
        with pytest.raises(RefusedError) as refused:
            guard(_asked(**headers), "predict")
        assert refused.value.status == 403


def test_a_page_of_another_site_gets_nothing_from_a_real_server(bundle: Path) -> None:
    with served(bundle, guard=OpenGuard(is_loopback=True)) as url:
        assert ask(url + "/predict", ROW)[0] == 200
        assert ask(url + "/predict", ROW, headers={"Origin": url})[0] == 200
        status, answer = ask(url + "/predict", ROW, headers={"Origin": "http://evil.example"})
        assert (status, answer["error"]) == (
            403,
            "a page of another site may not call a server without keys; serve with --keys FILE",
        )
        assert ask(url + "/openapi.json", headers={"Host": "evil.example"})[0] == 403
        assert ask(url + "/predict", method="OPTIONS", headers={"Origin": "http://evil.example"})[0] == 405


@pytest.fixture(scope="module")
def guarded(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """A server process with keys, their file, and a key of each kind."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    secrets = {}
    with KeyFile(keys) as file:
        for name, scope, rate in (("shop", "predict", None), ("boss", "admin", None), ("slow", "predict", "3/h")):
            secrets[name], key = new_key(name, [scope], rate)
            file.keys.append(key)
    with listening(bundle, options=("--keys", str(keys))) as url:
        yield url, keys, secrets


def _answer(url: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    request = urllib.request.Request(url + "/predict", json.dumps(ROW).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def test_keys_and_scopes(guarded: tuple[str, Path, dict[str, str]]) -> None:
    url, _, secrets = guarded
    status, headers, answer = _answer(url)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="ludocast"')
    assert "send the header Authorization" in answer["error"]
    key = secrets["shop"]
    for wrong in (key[:-1], key + "A", key.upper(), "", "é" * 20, "x" * 5000, f"{key}, Bearer {key}"):
        status, headers, _ = _answer(url, Authorization=f"Bearer {wrong}")
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="ludocast", error="invalid_token"')
    assert _answer(url, Authorization=f"Basic {key}")[0] == 401
    status, headers, answer = _answer(url, **_with(secrets["boss"]))
    assert status == 403
    assert headers["WWW-Authenticate"] == 'Bearer realm="ludocast", error="insufficient_scope", scope="predict"'
    assert answer["error"] == 'this key is good for admin, not for "predict"'
    assert _answer(url, **_with(key))[0] == 200
    assert _answer(url, **_with(key, Origin="https://dashboard.example"))[0] == 200  # a page that has a key is a client
    assert ask(url + "/v2/health/live")[0] == 200
    assert ask(url + "/openapi.json")[0] == 401
    assert ask(url + "/openapi.json", headers=_with(key))[0] == 200


def test_a_rate_is_refused_with_retry_after(guarded: tuple[str, Path, dict[str, str]]) -> None:
    url, _, secrets = guarded
    assert [_answer(url, **_with(secrets["slow"]))[0] for _ in range(3)] == [200] * 3
    status, headers, answer = _answer(url, **_with(secrets["slow"]))
    assert status == 429
    assert 1190 <= int(headers["Retry-After"]) <= 1200
    assert answer["error"] == "this key is good for 3/h requests; try again later"
    assert _answer(url, **_with(secrets["shop"]))[0] == 200


def test_keys_change_without_a_restart(guarded: tuple[str, Path, dict[str, str]]) -> None:
    url, keys, _ = guarded
    secret, key = new_key("late", ["predict"])
    with KeyFile(keys) as file:
        file.keys.append(key)
    _until(lambda: _answer(url, **_with(secret))[0] == 200)
    assert main(["keys", "remove", "late", "--keys", str(keys)]) == 0
    _until(lambda: _answer(url, **_with(secret))[0] == 401)


def _until(fits: Any) -> None:
    end = time.monotonic() + 10
    while not fits():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--host", "0.0.0.0"), "0.0.0.0 can be reached from other machines; make a key"),
        (("--keys", "none.json"), "there is no none.json"),
        (("--keys", "none.json", "--no-auth"), "give one of them"),
        (("--tls-certificate", "c.pem"), "belong together"),
    ],
)
def test_what_is_not_safe_is_not_served(
    bundle: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    assert main(["serve", "--bundle", str(bundle), "--port", "0", *options]) == 2
    assert sentence in capsys.readouterr().err


_AS_NOBODY = """
import os, sys
from pathlib import Path
from ludocast.serve.observe.access_log import AccessLog
from tests.serve.listening import ask, served
bundle, row = Path(sys.argv[1]), {"age": 30, "plan": "pro", "active": True, "last seen ": 1_700_086_400}
def answer():
    with served(bundle, log=AccessLog()) as url:
        return ask(url + "/predict", row), ask(url + "/v2/health/ready")[0], ask(url + "/predict", {})[0]
first = answer()  # Python itself may lie where nobody else may read: it has all modules now
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    (bundle / "new").touch()
    raise SystemExit("it may write into the bundle")
except PermissionError:
    pass
assert os.getresuid() == (65534,) * 3
second = answer()
assert first == second and first[0][0] == 200 and first[1:] == (200, 422), (first, second)
"""


def test_a_user_without_rights_serves_a_bundle_that_cannot_be_written() -> None:
    if os.name != "posix" or os.getuid() != 0:
        pytest.skip("only root can become nobody")
    folder = Path(tempfile.mkdtemp())
    try:
        bundle = write_logistic(folder / "bundle")
        for path in (*bundle.iterdir(), bundle, folder):
            path.chmod(0o555 if path.is_dir() else 0o444)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(bundle)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert [line["status"] for line in lines] == [200, 200, 422] * 2
    finally:
        shutil.rmtree(folder)


def test_tls_by_files_to_all_by_no_auth(bundle: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    certificate, key = self_signed(tmp_path)
    files = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with listening(bundle, options=(*files, "--host", "0.0.0.0", "--no-auth")) as url:
        assert url.startswith("https://0.0.0.0:")
        url = url.replace("0.0.0.0", "127.0.0.1")
        context = ssl.create_default_context(cafile=str(certificate))
        request = urllib.request.Request(url + "/predict", json.dumps(ROW).encode())
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            assert json.load(answer)["predictions"][0]["label"] == "Y"
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            urllib.request.urlopen(request, timeout=20)
        assert Client(url, context=context).predict(ROW).predictions[0]["label"] == "Y"
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            Client(url).predict(ROW)
        plain = urllib.request.Request(url.replace("https", "http") + "/predict", b"{}")
        with pytest.raises((urllib.error.URLError, ConnectionError, OSError)):
            urllib.request.urlopen(plain, timeout=20)
    key.write_text("no key")
    assert main(["serve", "--bundle", str(bundle), "--port", "0", *files]) == 2
