"""Points drawn at random."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from cosweep.errors import Fault
from cosweep.search.axes import Axis
from cosweep.search.base import Planned, SearchSpec
from cosweep.wording import counted


class Random(Planned):
    """Asks for ``search.trials`` points, each drawn from the axes' distributions."""

    options = frozenset({"trials"})

    @classmethod
    def faults(cls, search: SearchSpec, axes: Sequence[Axis]) -> Iterator[Fault]:
        if search.trials is None:
            yield Fault("search.trials", "missing; say how many points a random search draws")

    def plan(self) -> Iterator[dict[str, tuple[int, Any]]]:
        rng = random.Random(self.search.seed)
        for _ in range(self.search.trials or 0):
            yield {axis.path: (-1, axis.draw(rng)) for axis in self.axes}

    @property
    def reason(self) -> str:
        return f"{counted(self.search.trials or 0, 'point was', 'points were')} asked for" if self.done else ""
