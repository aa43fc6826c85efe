"""What guessing reaches on the examples of a probe, and from where on an accuracy is more than that."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Self

_DEVIATIONS = 3.0
"""By how many standard deviations of a count guesses may exceed their mean: about one probe in a thousand does."""

_SHARE = 1 / 9
"""Of the way from chance to 1; with ten classes it leads to twice chance."""


@dataclass(frozen=True)
class Chance:
    """What guessing reaches on the examples that the probes of a trial count.

    Attributes:
        classes: How many are present among the examples.
        largest: Share of the largest class, which a constant answer reaches; None takes 1 / classes.
        examples: How many are counted; None, where it is not known, leaves counting noise out.

    Raises:
        ValueError: If the largest class's share is below 1 / classes or above 1.
    """

    classes: int = 10
    largest: float | None = None
    examples: int | None = None

    def __post_init__(self) -> None:
        if self.largest is not None and not self.even - 1e-9 <= self.largest <= 1:
            raise ValueError(
                f"the largest of {self.classes} classes has a share from {self.even:.4g} to 1, got {self.largest:g}"
            )

    @classmethod
    def of_labels(cls, labels: Iterable[Hashable]) -> Self:
        """Chance on examples with these labels, of which there is at least one."""
        counts = Counter(labels)
        return cls(len(counts), max(counts.values()) / counts.total(), counts.total())

    @property
    def even(self) -> float:
        """Share of each class, if all have the same."""
        return 1 / self.classes

    @property
    def accuracy(self) -> float:
        """Of the best constant answer."""
        return self.even if self.largest is None else self.largest

    @property
    def guess_limit(self) -> float:
        """Highest clean or FGSM accuracy that still counts as guessing.

        The best constant answer's accuracy, and three standard deviations of a count, sqrt(p (1 - p) / examples), or
        half of the step to twice chance if that is more.
        """
        chance = self.accuracy
        deviation = math.sqrt(chance * (1 - chance) / self.examples) if self.examples else 0.0
        return max(_above(chance, 0.5), chance + _DEVIATIONS * deviation)

    @property
    def robust_floor(self) -> float:
        """PGD accuracy from which a model that does not guess is robust.

        Twice 1 / classes (with fewer than ten a ninth of the way to 1: .56 with two), and where classes are uneven
        at least half such a step above the best constant answer. Counting noise is left out: an attack takes right
        guesses away and adds none.
        """
        return max(_above(self.even, 1.0), _above(self.accuracy, 0.5))


TEN_CLASSES = Chance()


def _above(chance: float, part: float) -> float:
    """Chance and a part of the step above it: to twice chance, or a ninth of the way to 1 if that is less."""
    return chance + part * min(chance, (1 - chance) * _SHARE)
