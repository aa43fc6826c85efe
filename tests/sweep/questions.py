"""Questions of a strategy for the specs of a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cosweep.search import make_strategy
from cosweep.sweep.questions import Questions
from cosweep.training import TrialSpec


def seeds(count: int, **sections: Any) -> list[TrialSpec]:
    """Specs that differ in their seeds."""
    return [TrialSpec.from_dict({**sections, "seed": seed}) for seed in range(count)]


def questions_of(specs: Sequence[TrialSpec]) -> Questions:
    """A grid over these specs, none of which has ended before."""
    strategy = make_strategy({}, {"seed": {"grid": [spec.seed for spec in specs]}})
    by_seed = {spec.seed: spec for spec in specs}
    return Questions(strategy, lambda point: by_seed[point["seed"]], {})
