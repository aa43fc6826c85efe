"""A results folder to spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosweep.results.store import Store
from tests.results.sweeps import write_sweep


@pytest.fixture(autouse=True)
def _no_server_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    write_sweep(made, epsilons=(64 / 255,), betas=(0.0, 16 / 255))
    return made
