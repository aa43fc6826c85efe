"""When training breaks: the steps to the breaking point as survival data.

A trial's event is its breaking point. One that stayed healthy is censored at its last step: it would break later, or
never. Trials that failed, diverged or were never robust had nothing to lose and are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosweep.analysis.values import Row, by_place, format_value, is_conclusive

_ROUNDING = 1e-12

Group = tuple[list[float], list[bool]]
"""Steps to the breaking point or the last step, and whether it is the breaking point, of each trial."""


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier estimate of the share of trials that are not broken yet.

    Attributes:
        label: What the trials share.
        trials: How many.
        broken: How many of them broke.
        steps: 0, the steps at which trials broke, and the last that any trial was seen at; optimisation steps.
        healthy: Share not broken after each of these steps, a fraction.
        low, high: Pointwise confidence band of it; NaN where it is 0, and where it is 1 after step 0.
        at_risk: Trials neither broken nor ended before each of these steps.
        median: First step after which half of the trials or fewer are not broken; None if more stay healthy.
        censored: Last steps of the trials that did not break, sorted.
    """

    label: str
    trials: int
    broken: int
    steps: tuple[float, ...]
    healthy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    at_risk: tuple[int, ...]
    median: float | None
    censored: tuple[float, ...]


@dataclass(frozen=True)
class LogRank:
    """Test of whether groups break at the same rate.

    Attributes:
        statistic: Chi-squared.
        degrees: Of freedom, one less than the groups compared.
        p_value: Probability of a statistic at least as large if they do.
    """

    statistic: float
    degrees: int
    p_value: float


def survival(label: str, times: Sequence[float], broken: Sequence[bool], level: float = 0.95) -> Survival:
    """Share of trials not broken yet, by step (Kaplan and Meier, J. Am. Stat. Assoc. 53:457, 1958).

    The band is Greenwood's on the log-log scale, which stays within [0, 1] (Kalbfleisch and Prentice, The Statistical
    Analysis of Failure Time Data, 1980).

    Args:
        label: What the trials share.
        times: Breaking point of each trial, or its last step if it did not break; optimisation steps.
        broken: Whether each trial broke.
        level: Confidence of the band, a fraction.

    Raises:
        ValueError: If there is no trial, or the sequences differ in length.
    """
    from scipy.stats import CensoredData, ecdf

    if not times:
        raise ValueError(f"no trial to estimate the survival of {label!r} from")
    at, event = np.asarray(times, dtype=float), np.asarray(broken, dtype=bool)
    curve = ecdf(CensoredData.right_censored(at, ~event)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where the band is not defined
        band = curve.confidence_interval(level, method="log-log")
    steps = np.union1d(at[event], at.max())
    shown = np.isin(curve.quantiles, steps)
    healthy, low, high = (f.probabilities[shown] for f in (curve, band.low, band.high))
    halves = steps[healthy <= 0.5 + _ROUNDING]
    return Survival(
        label,
        trials=len(at),
        broken=int(event.sum()),
        steps=(0.0, *steps.tolist()),
        healthy=(1.0, *healthy.tolist()),
        low=(1.0, *low.tolist()),
        high=(1.0, *high.tolist()),
        at_risk=(len(at), *(int((at >= step).sum()) for step in steps)),
        median=float(halves[0]) if len(halves) else None,
        censored=tuple(np.sort(at[~event]).tolist()),
    )


def logrank(groups: Mapping[str, tuple[Sequence[float], Sequence[bool]]]) -> LogRank | None:
    """Log-rank test of any number of groups (Peto and Peto, J. R. Stat. Soc. A 135:185, 1972).

    A group all of whose trials had ended before the first breaking point of all says nothing and is left out.

    Args:
        groups: Label to times and outcomes, as for :func:`survival`.

    Returns:
        The test; None if fewer than two groups can be compared: none broke, or all broke at one step.
    """
    from scipy.stats import chi2
    from statsmodels.duration.survfunc import survdiff

    first = min((t for times, broken in groups.values() for t, b in zip(times, broken, strict=True) if b), default=None)
    compared = {} if first is None else {label: g for label, g in groups.items() if max(g[0], default=0) >= first}
    if len(compared) < 2:
        return None
    labels = [label for label, (times, _) in compared.items() for _ in times]
    times, broken = (np.concatenate([np.asarray(group[i]) for group in compared.values()]) for i in range(2))
    try:
        statistic, _ = survdiff(times, broken, np.array(labels))
    except np.linalg.LinAlgError:  # no variance: at each step all that were left broke
        return None
    degrees = len(compared) - 1
    return LogRank(float(statistic), degrees, float(chi2.sf(statistic, degrees)))


def onset_groups(trials: Iterable[Row], axis: str | None) -> dict[str, Group]:
    """Times to the breaking point of the trials that broke or stayed healthy, by a column's values, in their order.

    Args:
        trials: Rows of ``trials``.
        axis: The column; None makes one group.

    Returns:
        Label, such as ``beta 16/255``, to what :func:`survival` takes.
    """
    groups: dict[str, Group] = {}
    for place, members in by_place(filter(is_conclusive, trials), [axis] if axis else []).items():
        label = f"{axis} {format_value(axis, place[0])}" if axis else "all trials"
        times, broken = groups.setdefault(label, ([], []))  # values that read the same share a group
        for trial in members:
            times.append(trial["co_step"] if trial["co"] else trial["steps"])
            broken.append(bool(trial["co"]))
    return groups


def survival_rows(curves: Iterable[Survival]) -> list[dict[str, Any]]:
    """Rows of a table: one for each group and step."""
    return [
        {"group": c.label, "step": step, "at_risk": at_risk, "healthy": healthy, "low": low, "high": high}
        for c in curves
        for step, at_risk, healthy, low, high in zip(c.steps, c.at_risk, c.healthy, c.low, c.high, strict=True)
    ]
