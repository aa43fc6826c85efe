"""Every shipped search space expands and says what it asks; every experiment of the paper has a small twin."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from cosweep.definition.search_space import load_sweep
from cosweep.definition.sweep import Sweep

ROOT = Path(__file__).parent.parent / "search_spaces"
FILES = sorted(ROOT.rglob("*.yaml"))
PAPER = sorted((ROOT / "paper").glob("*.yaml"))
EXPECTING = [file for file in FILES if file.parent.name in ("paper", "small", "tables")]


@cache
def sweep_of(file: Path) -> Sweep:
    return load_sweep(file)


def path_of(file: Path) -> str:
    return str(file.relative_to(ROOT).with_suffix(""))


def test_there_are_search_spaces() -> None:
    assert any(file.name == "quickstart.yaml" for file in FILES)
    assert PAPER


@pytest.mark.parametrize("file", FILES, ids=path_of)
def test_a_search_space_expands_and_says_what_it_asks(file: Path) -> None:
    question, answer, *_ = file.read_text().splitlines()
    assert question.startswith("# Question: ")
    assert answer.startswith(f"# Answer:   cosweep run search_spaces/{file.relative_to(ROOT)}")
    sweep = sweep_of(file)
    assert sweep.name == (f"{file.stem}_small" if file.parent.name == "small" else file.stem)
    assert sweep.trials


@pytest.mark.parametrize("file", EXPECTING, ids=path_of)
def test_an_experiment_says_what_it_expects(file: Path) -> None:
    assert file.read_text().splitlines()[2].startswith("# Expected: ")


def test_no_two_search_spaces_share_a_name() -> None:
    names = [sweep_of(file).name for file in FILES]
    assert len(set(names)) == len(names)  # results of one name lie in one folder


@pytest.mark.parametrize("file", PAPER, ids=path_of)
def test_an_experiment_of_the_paper_has_a_twin_for_a_laptop(file: Path) -> None:
    twin = sweep_of(ROOT / "small" / file.name)
    assert twin.resources.gpu == 0
    assert len(twin.trials) <= 80
