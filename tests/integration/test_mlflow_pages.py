"""MLflow's own pages in a real browser, served as ``cosweep ui`` does: what people see of a sweep."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page

from cosweep.results.store import Store
from cosweep.tracking.tracker import sync_sweep
from tests.browser import chromium
from tests.integration.processes import COSWEEP, wait_for
from tests.results.sweeps import write_sweep
from tests.servers import free_port

pytestmark = pytest.mark.integration

_LINK = re.compile(r"^(\w+)  (http://127\.0\.0\.1\S+)$", re.MULTILINE)
# MLflow's charts when they are drawn before their place has a size, as on a busy machine.
_WITHOUT_SIZE = r"Error: <\w+> attribute \w+: (Expected|A negative value is not valid)"
# MLflow asks for the user, whom only a server with passwords has.
_EXPECTED = re.compile(rf"404 \(Not Found\)|ResizeObserver loop|{_WITHOUT_SIZE}")


class Shown:
    """A page of MLflow, with what went wrong in it and what it asked of other machines."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.faults: list[str] = []
        self.outside: list[str] = []
        # Wide, since columns out of sight are not in the page, and MLflow's assistant takes a quarter at first.
        self.page: Page = browser.new_page(viewport={"width": 2600, "height": 1000})
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self.faults.extend([message.text] if message.type == "error" else []))
        self.page.on("request", lambda request: self.outside.append(request.url))
        self.page.goto(address)

    def check(self) -> None:
        """Nothing broke, and nothing left this machine."""
        assert [fault for fault in self.faults if not _EXPECTED.search(fault)] == []
        assert [url for url in self.outside if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []
        self.page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui") / "output.txt"


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``cosweep ui`` on a sweep of 30 trials, ready."""
    store = Store(tmp_path_factory.mktemp("results"))
    write_sweep(store, epsilons=tuple(n / 255 for n in (48, 56, 64, 72, 80)), betas=(0, 16 / 255, 128 / 255))
    sync_sweep(store, "made", f"sqlite:///{store.local_path}/mlflow.db")
    command = [COSWEEP, "ui", "made", "--root", store.location, "--port", str(free_port())]
    environment = {name: text for name, text in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with output.open("wb") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: process.poll() is not None or "ready" in output.read_text())
            assert process.poll() is None, output.read_text()
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


@pytest.fixture(scope="module")
def links(ui: subprocess.Popen[bytes], output: Path) -> dict[str, str]:
    return dict(_LINK.findall(output.read_text()))


def cells(row: Locator) -> list[str]:
    """Texts of a row from left to right."""
    order = "(a, b) => a.getAttribute('aria-colindex') - b.getAttribute('aria-colindex')"
    found: list[str] = row.locator("[role=gridcell]").evaluate_all(f"all => all.sort({order}).map(c => c.innerText)")
    return found


def test_the_table_shows_names_states_and_breaking_points(browser: Browser, links: dict[str, str]) -> None:
    shown = Shown(browser, links["trials"])
    rows = shown.page.locator(".ag-center-cols-container .ag-row")
    rows.nth(20).wait_for(timeout=60_000)
    # The grid fills its columns after its rows, and keeps rows and cells in the order in which it made them.
    header, first = shown.page.locator(".ag-header"), shown.page.locator(".ag-center-cols-container [row-index='0']")
    columns = {"state", "co_step", "pgd_acc", "robust_acc", "epsilon", "beta", "seed"}
    wait_for(lambda: columns <= set(header.inner_text().split("\n")), 60)
    wait_for(lambda: cells(first)[:2] == ["co", "50"], 60)
    assert {"64/255", "16/255"} <= set(cells(first))
    names = shown.page.locator(".ag-pinned-left-cols-container").inner_text()
    assert "epsilon 80/255 beta 16/255 seed 0" in names
    assert shown.page.get_by_text("matching runs").inner_text() == "30 matching runs"
    shown.check()


def test_the_charts_show_which_trials_broke(browser: Browser, links: dict[str, str]) -> None:
    shown = Shown(browser, links["charts"])
    for title in ("Where and how training breaks", "Parallel Coordinates", "epsilon vs. co_step"):
        shown.page.get_by_text(title).first.wait_for(timeout=60_000)
    shown.page.wait_for_function("document.querySelectorAll('.scatterlayer .trace').length >= 60", timeout=60_000)
    strokes = shown.page.locator(".scatterlayer .trace path.js-line").evaluate_all(
        "paths => paths.map(path => path.style.stroke)"
    )
    assert len(set(strokes)) > 2
    shown.check()


def test_a_trial_tells_what_happened_to_it(browser: Browser, links: dict[str, str]) -> None:
    shown = Shown(browser, links["trials"])
    shown.page.get_by_text("epsilon 80/255 beta 16/255 seed 0", exact=True).click(timeout=60_000)
    shown.page.get_by_text("Broke at step").wait_for(timeout=60_000)
    assert shown.page.get_by_role("link", name="made", exact=True).count()
    shown.check()


def test_the_parent_shows_the_report_as_it_is_outside_mlflow(browser: Browser, links: dict[str, str]) -> None:
    shown = Shown(browser, links["report"])
    frame = shown.page.frame_locator("iframe")
    frame.locator("body[data-ready=true]").wait_for(timeout=60_000)
    assert frame.locator("h1").inner_text() == "made"
    shown.check()


def test_interrupting_ends_the_server_without_a_word_more(
    ui: subprocess.Popen[bytes], output: Path, links: dict[str, str]
) -> None:
    servers = psutil.Process(ui.pid).children(recursive=True)
    assert servers
    before = output.read_text()
    ui.send_signal(signal.SIGINT)
    assert ui.wait(30) == 0
    assert output.read_text() == before
    assert psutil.wait_procs(servers, timeout=10)[1] == []
