"""The page at the server's root, in a real browser: filled in, submitted, by keyboard, at two widths."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ludocast.__main__ import main
from tests.serve.listening import ROOT, listening
from tests.serve.logistic import by_hand, write_labels, write_logistic, write_numbers, write_segments, write_softmax

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no Chromium: apt-get install chromium", allow_module_level=True)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TABLE = "id,age,plan,active,last seen \na,31,pro,true,\nb,,basic,false,2023-11-15\nc,55,요금,,\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("studio") / "demo")


@pytest.fixture(scope="module")
def url(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    others = [write_softmax(folder / "three"), write_numbers(folder / "numbers"), write_segments(folder / "segments")]
    others.append(write_labels(folder / "labels"))
    with listening(bundle, *others, options=("--jobs", str(folder / "jobs"))) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(url)
    opened.locator("#answer .verdict").wait_for()
    yield opened
    opened.close()
    assert not wrong


def field(page: Any, column: str) -> Any:
    return page.locator("#player label", has=page.get_by_text(column, exact=True)).locator("input")


def test_a_player_is_filled_in_and_answered(page: Any) -> None:
    field(page, "age").fill("31")
    field(page, "plan").fill("pro")
    field(page, "active").fill("true")
    field(page, "last seen").fill("")
    page.get_by_role("button", name="Predict").click()
    wanted = f"{100 * by_hand(31, 'pro', 'true', None):.1f} %"
    playwright.expect(page.locator("#answer .verdict")).to_contain_text(wanted)
    rows = page.locator(".what-if tbody tr")
    playwright.expect(rows).to_have_count(4)
    # Of the age 10 and 60 are the ends of the training.
    low, high = by_hand(10, "pro", "true", None), by_hand(60, "pro", "true", None)
    row = rows.filter(has_text="age")
    playwright.expect(row).to_contain_text(f"{100 * low:.2f} % at 10, {100 * high:.1f} % at 60")
    playwright.expect(page.locator("#snippet")).to_contain_text(
        '{"age":31,"plan":"pro","active":true,"last seen ":null}'
    )


def test_a_wrong_cell_is_named_and_marked_and_the_keyboard_is_enough(page: Any) -> None:
    field(page, "age").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("old")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#answer .error")).to_have_text('row 1, column "age": expected a number, got "old"')
    playwright.expect(field(page, "age")).to_be_focused()
    playwright.expect(field(page, "age")).to_have_attribute("aria-invalid", "true")
    page.keyboard.press("Control+A")
    page.keyboard.type("20")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#answer .verdict")).to_contain_text("%")
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.get_by_role("tab", name="Python")).to_be_focused()
    playwright.expect(page.locator("#snippet")).to_contain_text("from ludocast.serve.client import Client")


@pytest.mark.parametrize(
    ("language", "command"),
    [
        ("curl", ("sh", "-ec")),
        ("Python", (sys.executable, "-c")),
        ("JavaScript", ("node", "--input-type=module", "-e")),
    ],
)
def test_programs_on_the_page_run_as_they_stand_there(page: Any, language: str, command: tuple[str, ...]) -> None:
    if shutil.which(language if language == "curl" else command[0]) is None:
        pytest.skip(f"{language} is not installed")
    field(page, "age").fill("31")
    field(page, "plan").fill("pro")
    field(page, "active").fill("true")
    field(page, "last seen").fill("")
    page.get_by_role("tab", name=language).click()
    playwright.expect(page.locator("#snippet")).to_contain_text("31")
    program = page.locator("#snippet").inner_text()
    done = subprocess.run([*command, program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"""["']?probability["']?: *([\d.]+)""", done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) == pytest.approx(by_hand(31, "pro", "true", None), abs=1e-6)


def test_another_model_has_another_form(page: Any) -> None:
    page.get_by_label("Model").select_option("three")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("three")
    field(page, "age").fill("2")
    page.get_by_role("button", name="Predict").click()
    playwright.expect(page.locator("#answer .verdict")).to_contain_text("probability of b")
    playwright.expect(page.locator("#answer ol li")).to_have_count(3)


def test_a_number_is_shown_with_its_interval_and_what_would_change_it(page: Any) -> None:
    page.get_by_label("Model").select_option("numbers")
    page.locator("#model-about", has_text="predicts a number from 1 column").wait_for()
    field(page, "age").fill("1.5")
    page.get_by_role("button", name="Predict").click()
    page.locator("#answer .verdict", has_text="150").wait_for()
    assert "90.0 % of true values are to lie within 100 and 250" in page.locator("#answer").inner_text()
    page.locator("#answer .what-if").wait_for()
    assert "-200 at -2, 200 at 2" in page.locator("#answer .what-if").inner_text()


def test_a_segment_is_shown_with_distances_and_what_would_change_them(page: Any) -> None:
    page.get_by_label("Model").select_option("segments")
    page.locator("#model-about", has_text="tells which of 2 segments").wait_for()
    field(page, "age").fill("1.5")
    page.get_by_role("button", name="Predict").click()
    page.locator("#answer .verdict", has_text="segment").wait_for()
    said = page.locator("#answer").inner_text()
    assert "anomaly score 0.15" in said
    assert said.index("2 0.5") < said.index("1 2.5")  # the nearest first
    page.locator("#answer .what-if").wait_for()
    assert "3 at -2" in page.locator("#answer .what-if").inner_text()


def test_several_labels_are_shown_and_what_would_change_each(page: Any) -> None:
    page.get_by_label("Model").select_option("labels")
    page.locator("#model-about", has_text="tells which of 2 labels a row has").wait_for()
    field(page, "age").fill("-0.5")
    page.get_by_role("button", name="Predict").click()
    page.locator("#answer .verdict", has_text="of 2 labels").wait_for()
    # Of old 1 / (1 + e), of young 1 / (1 + 1 / √e), which is below its threshold of 0.7.
    said = page.locator("#answer").inner_text()
    assert said.startswith("0")
    assert said.index("young 62.2 %") < said.index("old 26.9 %")
    page.locator("#answer .what-if").wait_for()
    assert "88.1 % at -2" in page.locator("#answer .what-if").inner_text()
    page.get_by_label("What would change the label").select_option("old")
    assert "98.2 % at 2" in page.locator("#answer .what-if").inner_text()


def test_pasted_rows_become_a_job_and_its_result_a_download(page: Any, bundle: Path, tmp_path: Path) -> None:
    page.get_by_text("or paste rows of CSV").click()
    page.get_by_label("Rows, with their header").fill(TABLE)
    page.get_by_role("button", name="Score it").click()
    playwright.expect(page.locator("#jobs")).to_contain_text("3 rows scored", timeout=30_000)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    waiting.value.save_as(tmp_path / "page.csv")
    (tmp_path / "table.csv").write_text(TABLE, encoding="utf-8")
    files = [f"--input={tmp_path / 'table.csv'}", f"--output={tmp_path / 'command.csv'}"]
    assert main(["score", f"--bundle={bundle}", *files]) == 0
    assert (tmp_path / "page.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    scored = list(csv.DictReader(io.StringIO((tmp_path / "page.csv").read_text(encoding="utf-8"))))
    assert float(scored[0]["scored_probability"]) == pytest.approx(by_hand(31, "pro", "true", None), abs=1e-6)
    page.get_by_role("button", name="Delete").click()
    playwright.expect(page.locator("#jobs li")).to_have_count(0)


def test_the_counters_tell_of_an_unknown_category(page: Any) -> None:
    field(page, "plan").fill("silver")
    page.get_by_role("button", name="Predict").click()
    playwright.expect(page.locator("#drift tr").filter(has_text="plan")).to_contain_text("%", timeout=10_000)
    playwright.expect(page.locator("#counters .number").first).to_be_visible()


def test_a_phone_shows_it_without_scrolling_sideways(browser: Any, url: str) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 800})
    phone.goto(url)
    phone.locator("#answer .verdict").wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()


def test_a_server_with_keys_asks_for_one(browser: Any, bundle: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["keys", "add", "page", "--keys", str(tmp_path / "keys.json")]) == 0
    key = next(word for word in capsys.readouterr().out.split() if len(word) > 30)
    with listening(bundle, options=("--keys", str(tmp_path / "keys.json"))) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Use it").click()
        page.locator("#answer .verdict").wait_for()
        page.close()
