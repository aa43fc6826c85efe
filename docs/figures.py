"""Draws the pictures of README.md and docs/ anew from sweeps run here, and prints the numbers that these quote.

    make figures                                  or, to choose where the results lie and what is drawn:
    python docs/figures.py [--root FOLDER] [--only quickstart.yaml]

Of each sweep it runs what is not done, all in about half an hour on two cores; after an interrupt the same command
carries on. It copies the pictures, and writes the processor and the version of torch into the text below each. The
numbers it prints are for the texts around them.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import yaml
from playwright.sync_api import sync_playwright

from cosweep.analysis.effects import ALL, effect_texts
from cosweep.analysis.findings import Findings, make_findings
from cosweep.analysis.values import place_text
from cosweep.results.store import Store

DOCS = Path(__file__).parent
PAGES = (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")))


class Drawn(NamedTuple):
    """A sweep whose pictures or numbers the documentation shows.

    Attributes:
        file: Its definition, below search_spaces.
        pictures: Name in docs to name in the report; of a page the top is taken, as a browser shows it.
        overrides: As ``cosweep run --set`` takes them.
    """

    file: str
    pictures: dict[str, str]
    overrides: tuple[str, ...] = ()


SWEEPS = (
    Drawn("quickstart.yaml", {"quickstart_phase.png": "phase.png", "report_page.png": "report.html"}),
    Drawn("small/curvature.yaml", {"curvature_small.png": "curves.png"}),
    Drawn("small/feature_use.yaml", {"feature_use_small.png": "ablations.png"}),
    Drawn("small/controls.yaml", {}, ("space.seed.grid=[0, 1, 2, 3, 4]",)),
)


def main() -> None:
    """Run, copy, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="results", help="where the results lie, or will")
    parser.add_argument("--only", choices=[sweep.file for sweep in SWEEPS], help="one sweep; all without")
    options = parser.parse_args()
    store = Store(options.root)
    for sweep in SWEEPS:
        if options.only in (None, sweep.file):
            name = run(sweep, options.root)
            for picture, figure in sweep.pictures.items():
                copy(Path(options.root).absolute() / "reports" / name / figure, DOCS / picture)
                write_origin(picture, f"{processor()}, torch {version('torch')}")
            print_numbers(store, make_findings(store, name))


def run(sweep: Drawn, root: str) -> str:
    """Run what is left of a sweep; its name."""
    file = DOCS.parent / "search_spaces" / sweep.file
    command = [sys.executable, "-P", "-m", "cosweep", "run", str(file)]
    for override in (f"results.root={root}", *sweep.overrides):
        command += ["--set", override]
    subprocess.run(command, check=True)
    return str(yaml.safe_load(file.read_text())["name"])


def copy(figure: Path, picture: Path) -> None:
    """Copy a figure, or draw what a browser shows of a page."""
    if figure.suffix != ".html":
        shutil.copyfile(figure, picture)
        return
    with sync_playwright() as playwright:
        installed = shutil.which("chromium")  # Debian's; else playwright's own
        browser = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(figure.as_uri())
        page.wait_for_selector(".plotly .main-svg")
        page.screenshot(path=picture)
        browser.close()


def processor() -> str:
    """The processor's name, as people know it."""
    known = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", known.read_text()) if known.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def origin(picture: str) -> re.Pattern[str]:
    """Where a page says what a picture was drawn on: after it, before the next picture."""
    words = r"\s+".join(("; another", "processor", "gives", "other", "steps"))
    return re.compile(rf"({re.escape(picture)}\)(?:(?!!\[).)*?Drawn on )([^;]+)({words})", re.DOTALL)


def write_origin(picture: str, text: str) -> None:
    """Say below a picture what it was drawn on."""
    for page in PAGES:
        page.write_text(origin(picture).sub(lambda found: f"{found[1]}{text}{found[3]}", page.read_text()))


def print_numbers(store: Store, report: Findings) -> None:
    """Counts, breaking points, effects, and where the time went."""
    print(f"\n{report.sweep}")
    for diagram in report.diagrams:
        for (row, column), cell in diagram.cells.items():
            place = place_text((diagram.row_axis, diagram.column_axis), (row, column))
            step = "" if cell.co_step is None else f", step {cell.co_step:.0f}"
            unclear = f", {cell.unclear} unclear" if cell.unclear else ""
            print(f"  {', '.join(filter(None, (diagram.where, place)))}: {cell.broken} of {cell.trials}{step}{unclear}")
    for effect in report.effects:
        if effect.stratum == ALL:
            texts = effect_texts(effect)
            print(f"  {texts['intervention']}: {texts['pairs']} pairs, {texts['difference']}, p {texts['p']}")
    seconds = {name: sum(row[f"{name}_seconds"] or 0.0 for row in report.rows) for name in ("train", "probe", "eval")}
    first = min(row["started_at"] for row in report.rows)
    last = max(row["finished_at"] for row in report.rows)
    shares = ", ".join(f"{name} {spent / (2 * (last - first).total_seconds()):.0%}" for name, spent in seconds.items())
    size = len(store.files.read(f"reports/{report.sweep}/report.html")) / 1e6
    print(f"  {(last - first).total_seconds():.0f} s; of two cores' time: {shares}; report.html {size:.1f} MB")


if __name__ == "__main__":
    main()
