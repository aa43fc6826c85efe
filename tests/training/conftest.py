"""Fixtures that tests of trials share."""

from __future__ import annotations

from typing import Any

import pytest

from cosweep.training import loop
from cosweep.training.trainer import Trainer


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[Trainer]:
    """Every trainer that a trial makes, to look at its weights afterwards."""
    made: list[Trainer] = []

    class Recorded(Trainer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(loop, "Trainer", Recorded)
    return made
