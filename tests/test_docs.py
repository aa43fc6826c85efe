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

from cosweep.data import CARRIERS, INTERVENTIONS, SOURCES
from cosweep.definition.search_space import load_sweep
from cosweep.detection import DETECTORS
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.methods import METHODS, Batch
from cosweep.models import MODELS
from cosweep.search import STRATEGIES
from cosweep.seeding import RandomStream
from cosweep.training import run_trial
from tests.tiny import UNIT_BOX, batch, convolutional_model, digits

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def block(page: str, language: str) -> str:
    """The only code block of a language on a page."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    return str(code)


def test_the_reference_lists_what_the_package_has() -> None:
    assert (DOCS / "reference.md").read_text() == script("reference").reference(), "run make reference"


def test_readers_of_tables_know_what_components_declare() -> None:
    reference = script("reference")
    assert reference.DECLARED.read_text() == reference.declared(), "run make reference"


def test_the_readme_fits_a_screen_and_names_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 8_000
    pages = {page.name for page in DOCS.glob("*.md")}
    linked = set(re.findall(r"docs/(\w+\.md)", text))
    assert pages == linked


@pytest.mark.parametrize("page", ["README.md", "docs/definition.md", "docs/editor.md"])
def test_the_definitions_that_are_shown_are_definitions(page: str, tmp_path: Path) -> None:
    texts = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    assert texts
    for text in texts:
        (tmp_path / "sweep.yaml").write_text(text)
        assert len(load_sweep(tmp_path / "sweep.yaml").trials) > 1


def test_the_search_that_is_shown_runs_as_it_stands_there() -> None:
    names: dict[str, Any] = {}
    exec(block("definition.md", "python"), names)
    assert names["strategy"].done
    assert 0.5 < names["beliefs"][0] < 1


def test_the_trial_that_the_readme_shows_runs_as_it_stands_there(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
        if "run_trial" in code
    ]
    exec(
        code.replace('"epochs": 15', '"epochs": 1').replace(
            '{"method"', '{"data": {"source": "digits", "train_examples": 256}, "method"'
        ),
        {},
    )
    assert "Verdict(" in capsys.readouterr().out


def test_links_of_the_documentation_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
        assert not [target for target in targets if "://" not in target and not (page.parent / target).exists()], page


def test_files_and_folders_that_the_documentation_names_exist() -> None:
    folders = "cosweep|tests|benchmarks|docs|search_spaces"
    examples = {"cosweep/methods/r_fgsm.py", "tests/methods/test_r_fgsm.py"}  # of adding_a_method.md
    missing = set()
    for page in (ROOT / "README.md", ROOT / "cluster" / "README.md", *DOCS.glob("*.md")):
        named = re.findall(rf"(?:^|[`\s])((?:{folders})/[\w./]*\w)", page.read_text(), flags=re.MULTILINE)
        paths = {path for path in named if "FILE" not in path} - examples
        missing |= {(page.name, path) for path in paths if not (ROOT / path).exists()}
    assert not missing


def script(name: str) -> Any:
    """A script of the documentation."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def figures() -> Any:
    """The script that draws the pictures."""
    return script("figures")


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


@pytest.mark.parametrize("menu", [METHODS, DIAGNOSTICS], ids=["methods", "diagnostics"])
def test_the_page_of_costs_has_a_row_for_each(menu: Collection[str]) -> None:
    text = (DOCS / "costs.md").read_text()
    assert not [name for name in menu if f"| `{name}` |" not in text]


def test_the_method_of_the_page_trains_as_its_yaml_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("cosweep.methods.r_fgsm")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block("adding_a_method.md", "python"), module.__dict__)
    monkeypatch.setitem(METHODS, "r_fgsm", module.RFGSM)
    method = METHODS["r_fgsm"](epsilon=0.1)
    x, y = batch(16)
    step = Batch(x, y, UNIT_BOX, RandomStream(0), torch.arange(16))
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


def test_the_components_of_the_page_run_together_in_one_trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = types.ModuleType("components_of_the_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for code in re.findall(r"```python\n(.*?)```", (DOCS / "adding_components.md").read_text(), flags=re.DOTALL):
        exec(code, module.__dict__)
    registries: list[tuple[dict[str, Any], str, str]] = [
        (INTERVENTIONS, "darken", "Darken"),
        (CARRIERS, "one_row", "one_row"),
        (MODELS, "linear", "Linear"),
        (SOURCES, "stripes", "Stripes"),
        (DIAGNOSTICS, "confidence", "Confidence"),
        (DETECTORS, "part_of_best", "PartOfBest"),
        (STRATEGIES, "corners", "Corners"),
    ]
    for registry, name, member in registries:
        monkeypatch.setitem(registry, name, getattr(module, member))
    (tmp_path / "sweep.yaml").write_text("""
name: all_of_them
trial:
  data: {source: stripes}
  interventions: [{kind: darken}, {kind: inject, carriers: one_row}]
  model: {name: linear}
  optimizer: {epochs: 2, batch_size: 64}
  probe: {every: 2, examples: 64, pgd_steps: 4, diagnostics: [{name: confidence}], diagnostic_limit: 100}
  final: {steps: 2, restarts: 1, examples: 64}
space: {interventions.0.factor: [0.25, 0.5, 0.75], seed: {range: [0, 3]}}
search: {kind: corners}
stop: {co: {detector: part_of_best}}
""")
    sweep = load_sweep(tmp_path / "sweep.yaml")
    assert [(spec.flat()["factor"], spec.seed) for spec in sweep.trials] == [(0.25, 0), (0.75, 2)]
    run = run_trial(sweep.trials[0])
    probes = list(run)
    assert run.status == "completed"
    assert probes[-1].clean_acc > 0.6, "it learned nothing"
    confidence = probes[-1].diagnostics["confidence"]
    assert isinstance(confidence, float)
    assert 0.5 <= confidence <= 1
