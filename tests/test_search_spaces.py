"""Every shipped search space loads, expands, and opens with its question and command."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosweep.sweep.search_space import load_sweep

ROOT = Path(__file__).parent.parent / "search_spaces"
FILES = sorted(ROOT.rglob("*.yaml"))


def test_there_are_search_spaces() -> None:
    assert any(file.name == "quickstart.yaml" for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_search_space_expands_and_says_what_it_asks(file: Path) -> None:
    question, answer, *_ = file.read_text().splitlines()
    assert question.startswith("# Question: ")
    assert answer.startswith(f"# Answer:   cosweep run search_spaces/{file.relative_to(ROOT)}")
    sweep = load_sweep(file)
    assert sweep.name == file.stem
    assert sweep.trials
