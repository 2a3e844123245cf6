"""One core graph in several runtimes: `python -m benchmarks.runtimes --bundle run/bundle --modules FOLDER`.

The check rows of the bundle, and the first --rows of --data where given, are read by the bundle's own graph up to where
the core graph begins; each runtime then computes the core graph, and the largest difference from the bundle's answer is
shown. FOLDER is where `npm install --ignore-scripts onnxruntime-node onnxruntime-web` was called; OpenVINO, Playwright
and Chromium are tried where they are installed. A runtime that is absent is said to be.
"""

from __future__ import annotations

import argparse
import base64
import functools
import http.server
import importlib.metadata
import importlib.util
import io
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime as ort
import pyarrow.csv as pv
from ludocast.serve.bundle import Bundle
from ludocast.serve.core import export_core
from ludocast.serve.core_sequence import CUT

PAGE = """<!doctype html><script type="module">
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { run } from "./runtimes.mjs";
ort.env.wasm.numThreads = 1;
const work = await (await fetch("work.json")).json();
try { window.found = await run(ort, { executionProviders: ["wasm"] }, work); }
catch (error) { window.found = String(error); }
</script>"""
Feeds = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, action="append")
    parser.add_argument("--data", type=Path, help="CSV of players of the first bundle's columns")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--modules", type=Path, help="folder with node_modules")
    arguments = parser.parse_args()
    print("| bundle | answers | runtime | largest difference |\n| --- | --- | --- | --- |")
    for bundle in arguments.bundle:
        compare(bundle, arguments.data if bundle == arguments.bundle[0] else None, arguments.rows, arguments.modules)


def compare(folder: Path, data: Path | None, rows: int, modules: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with redirect_stdout(io.StringIO()):
            export_core(folder, work)
        model = (work / "model_core.onnx").read_bytes()
        feeds, output, wanted = core_feeds(Bundle.load(folder), folder / "model.onnx", model, data, rows)
        for title, run in runtimes(work, model, feeds, output, modules):
            found = run()
            if isinstance(found, str):
                print(f"| {folder.parent.name} | | {title} | {found} |")
                continue
            if isinstance(found, dict):
                title, found = title + found["level"], found["values"]
            difference = np.abs(np.asarray(found, np.float64).reshape(wanted.shape) - wanted).max()
            print(f"| {folder.parent.name} | {wanted.size:,} | {title} | {difference:.1e} |", flush=True)


def core_feeds(bundle: Bundle, path: Path, core: bytes, data: Path | None, rows: int) -> tuple[Feeds, str, np.ndarray]:
    """What the core graph is given, the output that is compared, and the bundle's answer."""
    reader, manifest = bundle.reader, bundle.manifest
    if data is not None:
        table = pv.read_csv(data).slice(0, rows)
        feeds = reader.from_columns({item.column: table[item.column] for item in manifest.inputs})
    else:
        feeds = reader.from_rows(manifest.check_rows.rows)
    parts = [tensors for _, tensors in feeds.batches()]
    graph, cut = onnx.load(path), onnx.load_from_string(core)
    output = cut.graph.output[-1].name
    made = {name for node in graph.graph.node for name in node.output}
    names = {item.name: next((n for n in (CUT + item.name, item.name) if n in made), "") for item in cut.graph.input}
    for name in filter(None, names.values()):
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(graph.SerializeToString())
    given = {item.name for item in session.get_inputs()}
    asked = [*filter(None, names.values()), output]
    first = {name: value for name, value in parts[0].items() if name in given}
    if len(parts) > 1:
        first = {name: np.concatenate([part[name] for part in parts]) for name in first}
    usual = {constant.name: onnx.numpy_helper.to_array(constant) for constant in graph.graph.initializer}
    found = dict(zip(asked, session.run(asked, first), strict=True))
    return (
        {name: found[value] if value else {**usual, **first}[name] for name, value in names.items()},
        output,
        found[output],
    )


def runtimes(
    work: Path, model: bytes, feeds: Feeds, output: str, modules: Path | None
) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield f"onnxruntime {ort.__version__}, Python", lambda: ort.InferenceSession(model).run([output], feeds)[0]
    if importlib.util.find_spec("openvino") is None:
        yield "OpenVINO", lambda: "not installed"
    else:
        version = importlib.metadata.version("openvino")
        for hint in ("f32", None):
            title = "f32 hint" if hint else "as it comes"
            yield f"OpenVINO {version}, {title}", functools.partial(in_openvino, model, feeds, output, hint)
    if modules is None:
        yield "onnxruntime-node, onnxruntime-web", lambda: "no --modules given"
        return
    (work / "node_modules").symlink_to((modules / "node_modules").resolve())
    shutil.copy(Path(__file__).with_suffix(".mjs"), work)
    tensors = {
        name: {"type": str(value.dtype), "dims": value.shape, "data": base64.b64encode(value.tobytes()).decode()}
        for name, value in feeds.items()
    }
    document = {"model": base64.b64encode(model).decode(), "feeds": tensors, "output": output}
    (work / "work.json").write_text(json.dumps(document))
    (work / "page.html").write_text(PAGE)
    version = json.loads((modules / "node_modules/onnxruntime-node/package.json").read_text())["version"]
    yield f"onnxruntime-node {version}", functools.partial(in_node, work)
    version = json.loads((modules / "node_modules/onnxruntime-web/package.json").read_text())["version"]
    yield f"onnxruntime-web {version}, wasm in Chromium", functools.partial(in_chromium, work)


def in_openvino(model: bytes, feeds: Feeds, output: str, hint: str | None) -> Any:
    import openvino

    core = openvino.Core()
    options = {} if hint is None else {"INFERENCE_PRECISION_HINT": hint}
    compiled = core.compile_model(core.read_model(model=model), "CPU", options)
    # Whole numbers of onnxruntime are "long long", which OpenVINO does not know for int64.
    own = {name: np.frombuffer(value.tobytes(), value.dtype.name).reshape(value.shape) for name, value in feeds.items()}
    return compiled(own)[compiled.output(output)]


def in_node(work: Path) -> Any:
    if shutil.which("node") is None:
        return "no node"
    words = ["node", str(work / "runtimes.mjs"), str(work)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def in_chromium(work: Path) -> Any:
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        return "no chromium, or no playwright"
    from playwright.sync_api import sync_playwright

    with served(work) as url, sync_playwright() as driver:
        page = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
        page.goto(f"{url}/page.html")
        page.wait_for_function("window.found !== undefined", timeout=120_000)
        return page.evaluate("window.found")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    Quiet.extensions_map = {**Quiet.extensions_map, ".mjs": "text/javascript"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


if __name__ == "__main__":
    main()
