"""The report's page in a real browser: offline, complete, and usable on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from cosweep.analysis.findings import make_findings
from cosweep.report.files import report_files, write_report
from cosweep.results.store import Store
from tests.browser import chromium
from tests.results.sweeps import write_sweep

pytestmark = pytest.mark.integration


class Shown:
    """A page that was opened, with what it asked of the network and what went wrong in it."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.faults: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self.faults.extend([message.text] if message.type == "error" else []))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_selector("body[data-ready=true]", timeout=60_000)

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def column(self, name: str) -> list[str]:
        place = [head.split(" ")[0] for head in self.texts("#table thead tr:first-child th")].index(name)
        return self.texts(f"#table tbody tr td:nth-child({place + 1})")

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    store = Store(folder)
    write_sweep(store, methods=("fgsm", "pgd"), snapshots=True)
    made = make_findings(store, "made")
    write_report(store, made, report_files(made))
    return folder / "reports/made/report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def wide(browser: Browser, file: Path) -> Shown:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    shown = Shown(context.new_page(), file)
    shown.page.locator("#more").click()
    return shown


def test_the_page_opens_offline_and_asks_for_nothing_else(wide: Shown, file: Path) -> None:
    outside = [url for url in wide.requests if not url.startswith(("data:", "blob:"))]
    assert outside == [file.as_uri()]
    assert wide.faults == []
    assert "Where does it break?" in wide.texts(".question")[0]


def test_the_diagram_shows_counts_and_a_click_names_the_trials(wide: Shown) -> None:
    page = wide.page
    assert page.locator("#axes option").first.inner_text() == "beta across, epsilon up"
    assert wide.texts("#slice option") == ["method fgsm", "method pgd"]
    assert "2 of 2" in page.locator("#phase").inner_text()
    page.locator("#phase .nsewdrag").first.click(position=cell_place(page, 1, 2))
    assert wide.texts("#picked")[0].startswith("2 trials:")
    first = page.locator("#picked a").first
    name = first.inner_text()
    first.click()
    page.wait_for_function("name => document.getElementById('which').value === name", arg=name)
    assert "co" in wide.texts("#verdict")[0]
    page.select_option("#slice", label="method pgd")
    assert "2 of 2" not in page.locator("#phase").inner_text()
    page.select_option("#slice", label="method fgsm")


def cell_place(page: Page, column: int, row: int) -> Any:
    """Middle of a cell of the default diagram, 4 columns and 3 rows, in pixels of its plot."""
    box = page.locator("#phase .nsewdrag").first.bounding_box()
    assert box is not None
    return {"x": (column + 0.5) / 4 * box["width"], "y": (1 - (row + 0.3) / 3) * box["height"]}


def test_hovering_a_cell_tells_interval_and_breaking_point(wide: Shown) -> None:
    page = wide.page
    page.locator("#phase .nsewdrag").first.hover(position=cell_place(page, 2, 2))
    page.wait_for_selector("#phase .hoverlayer .hovertext")
    text = page.locator("#phase .hoverlayer").text_content() or ""
    assert "CO in 2 of 2" in text
    assert "[0.34, 1.00]" in text  # Wilson's interval of 2 of 2


def test_any_trial_can_be_chosen_and_its_breaking_point_is_marked(wide: Shown) -> None:
    page = wide.page
    broken = next(row for row in wide.column("trial_id") if wide_state(wide, row) == "co")
    page.evaluate("id => { location.hash = 'trial=' + id; }", broken)
    page.wait_for_function("name => document.getElementById('which').value === name", arg=broken)
    assert "CO at step" in page.locator("#curves").inner_text()
    healthy = next(row for row in wide.column("trial_id") if wide_state(wide, row) == "healthy")
    page.select_option("#which", value=healthy)
    assert "CO at step" not in page.locator("#curves").inner_text()
    page.locator("#next").click()
    assert page.locator("#which").input_value() != healthy


def wide_state(shown: Shown, trial: str) -> str:
    return dict(zip(shown.column("trial_id"), shown.column("state")))[trial]


@pytest.mark.parametrize(
    ("column", "text", "holds"),
    [
        ("epsilon", ">=64/255", {"64/255", "80/255"}),
        ("epsilon", "<64/255", {"48/255"}),
        ("epsilon", "=80/255", {"80/255"}),
        ("state", "CO", {"co"}),
        ("co_step", "-", {"-"}),
        ("method", "pg", {"pgd"}),
    ],
)
def test_the_table_filters(wide: Shown, column: str, text: str, holds: set[str]) -> None:
    wide.page.get_by_label(f"filter {column}", exact=True).fill(text)
    try:
        assert set(wide.column(column)) == holds
    finally:
        wide.page.locator("#clear").click()
    assert len(wide.column(column)) == 48


def test_the_breaking_line_in_numbers_follows_the_axes(wide: Shown) -> None:
    page = wide.page
    page.select_option("#axes", label="beta across, method up")
    assert {text.split(" breaks ")[0] for text in wide.texts("#crossings li")} == {
        "epsilon 64/255, method fgsm:",
        "epsilon 80/255, method fgsm:",
    }
    assert not page.get_by_text("Also in breaking_line.csv").is_visible()
    page.select_option("#axes", label="method alone")
    assert not page.locator("#crossings").is_visible()
    page.select_option("#axes", label="beta across, epsilon up")
    assert {text.split(" breaks ")[0] for text in wide.texts("#crossings li")} == {
        "method fgsm, epsilon 64/255:",
        "method fgsm, epsilon 80/255:",
    }
    assert page.get_by_text("Also in breaking_line.csv").is_visible()


def test_a_window_of_1400_pixels_shows_all_columns_of_the_table(browser: Browser, file: Path) -> None:
    shown = Shown(browser.new_page(viewport={"width": 1400, "height": 900}), file)
    for head in shown.page.locator("#table thead tr:first-child th").all():
        box = head.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= 1400
    assert (
        shown.page.evaluate(
            "(() => { const s = document.querySelector('#trials .scroll'); return s.scrollWidth - s.clientWidth; })()"
        )
        == 0
    )
    assert shown.overflow() <= 0


def test_the_table_sorts_numbers_as_numbers_and_absent_ones_last(wide: Shown) -> None:
    head = wide.page.locator("#table thead th", has_text="co_step")
    head.click()
    steps = wide.column("co_step")
    numbers = [int(step) for step in steps if step != "-"]
    assert numbers == sorted(numbers)
    assert steps == [str(n) for n in numbers] + ["-"] * (len(steps) - len(numbers))
    head.click()
    assert [int(step) for step in wide.column("co_step") if step != "-"] == numbers[::-1]


def test_text_of_a_definition_is_text(wide: Shown) -> None:
    assert "name: made <&>" in wide.page.locator("#asked pre").inner_text()


def test_no_button_sends_the_figure_away(wide: Shown) -> None:
    buttons = wide.page.locator(".modebar-btn").evaluate_all("found => found.map(b => b.dataset.title || '')")
    assert any(title.startswith("Download plot") for title in buttons)
    assert not [title for title in buttons if "loud" in title or "hare" in title]


def test_on_a_phone_nothing_is_cut(browser: Browser, file: Path) -> None:
    shown = Shown(browser.new_page(viewport={"width": 390, "height": 844}), file)
    assert shown.overflow() <= 0
    box = shown.page.locator("#phase .main-svg").first.bounding_box()
    assert box is not None
    assert box["width"] <= 390
    assert shown.faults == []
