"""The examples of the documentation run as they stand there."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch

from cosweep.data import CARRIERS, INTERVENTIONS
from cosweep.definition.search_space import load_sweep
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.methods import METHODS, Batch
from cosweep.metrics import ABLATIONS
from cosweep.models import MODELS
from cosweep.training import run_trial
from tests.tiny import UNIT_BOX, batch, convolutional_model, digits

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MENUS: dict[str, Collection[str]] = {
    "interventions": INTERVENTIONS,
    "carriers": CARRIERS,
    "methods": METHODS,
    "models": MODELS,
    "diagnostics": DIAGNOSTICS,
    "ablations": ABLATIONS.keys() - {"injected"},
}


def block(page: str, language: str) -> str:
    """The only code block of a language on a page."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    return str(code)


@pytest.mark.parametrize("menu", MENUS)
def test_the_readme_names_all_that_a_yaml_may(menu: str) -> None:
    text = (ROOT / "README.md").read_text()
    assert not [name for name in MENUS[menu] if f"`{name}`" not in text]


def test_links_of_the_documentation_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
        assert not [target for target in targets if "://" not in target and not (page.parent / target).exists()], page


@pytest.fixture
def figures() -> Any:
    """The script that draws the pictures."""
    spec = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_drawn_by_the_script_and_says_on_which_processor(figures: Any) -> None:
    pages = "".join(page.read_text() for page in figures.PAGES)
    shown = set(re.findall(r"!\[[^]]*\]\((?:docs/)?([^)]+)\)", pages))
    assert shown == {path.name for path in DOCS.glob("*.png")}
    assert shown == {picture for sweep in figures.SWEEPS for picture in sweep.pictures}
    assert not [picture for picture in shown if not figures.origin(picture).search(pages)]


def test_the_script_writes_the_processor_below_its_own_picture_alone(
    figures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    text = "![a](docs/one.png)\n*Drawn on {}; another\nprocessor gives other steps.*\n![b](two.png)\n"
    page.write_text(text.format("an old one") + "Drawn on X; another processor gives other steps")
    monkeypatch.setattr(figures, "PAGES", [page])
    figures.write_origin("one.png", r"CPU \1 @ 2 GHz")
    assert page.read_text() == text.format(r"CPU \1 @ 2 GHz") + "Drawn on X; another processor gives other steps"


@pytest.mark.parametrize("menu", ["methods", "diagnostics"])
def test_the_page_of_costs_has_a_row_for_each(menu: str) -> None:
    text = (DOCS / "costs.md").read_text()
    assert not [name for name in MENUS[menu] if f"| `{name}` |" not in text]


def test_the_method_of_the_page_trains_as_its_yaml_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("cosweep.methods.r_fgsm")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block("adding_a_method.md", "python"), module.__dict__)
    monkeypatch.setitem(METHODS, "r_fgsm", module.RFGSM)
    method = METHODS["r_fgsm"](epsilon=0.1)
    x, y = batch(16)
    step = Batch(x, y, UNIT_BOX, torch.Generator().manual_seed(0), torch.arange(16))
    delta = method.perturb(convolutional_model(), step)
    assert 0.09 < delta.abs().max() <= method.bound + 1e-6
    (tmp_path / "sweep.yaml").write_text(
        block("adding_a_method.md", "yaml")
        + "  optimizer.epochs: {grid: [1]}\n  data.train_examples: {grid: [128]}\n  probe.every: {grid: [1]}\n"
        + "  final.restarts: {grid: [1]}\n"
    )
    sweep = load_sweep(tmp_path / "sweep.yaml")
    assert {spec.flat()["random_share"] for spec in sweep.trials} == {0.25, 0.5}
    run = run_trial(sweep.trials[0], dataset=digits(128))
    assert [probe.step for probe in run] == [1, 2]
    assert run.status == "completed"
