"""How surely a share of trials is known."""

from __future__ import annotations

from typing import NamedTuple


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


def wilson(broken: int, trials: int, level: float = 0.95) -> Interval:
    """Score interval of P(CO), without continuity correction (Wilson, J. Am. Stat. Assoc. 22:209, 1927).

    It lies within [0, 1], and has a width where none or all of a few trials broke, unlike the normal interval.

    Args:
        broken: How many trials broke.
        trials: Of how many; of none, the interval is all of [0, 1].
        level: Confidence, a fraction.

    Returns:
        Ends of the interval, fractions.

    Raises:
        ValueError: If ``broken`` is not from 0 to ``trials``, or ``level`` not from 0 to 1.
    """
    from scipy.stats import binomtest

    if not 0 <= broken <= trials:
        raise ValueError(f"broken must be from 0 to trials, {trials}; got {broken}")
    if trials == 0:
        return Interval(0.0, 1.0)
    interval = binomtest(broken, trials).proportion_ci(level, method="wilson")
    return Interval(float(interval.low), float(interval.high))
