"""Causal effect of an intervention: trials paired by everything else, same seed and hyperparameters included."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from cosweep.analysis.proportions import Interval, wilson
from cosweep.analysis.values import Row, by_place, format_value, is_conclusive
from cosweep.errors import UnknownNameError
from cosweep.results.records import spec_of
from cosweep.results.schema import DECLARED

ALL = "all"
NONE = "no intervention"

Pair = tuple[Row, Row]
"""A treated trial, and the one that differs from it in its interventions alone."""

_FEWEST_ONSETS = 6
_LEVEL = 0.95
_STRENGTHS = ("beta", "bandwidth", "band_low", "band_high")


@dataclass(frozen=True)
class Effect:
    """What one intervention changes against another, over pairs of trials that differ in it alone.

    Attributes:
        treatment, reference: The two interventions.
        stratum: ``all`` pairs, or those at one value of a column.
        pairs: How many of which both trials say whether training breaks.
        left_out: Pairs of which one failed, diverged or was never robust.
        both, only_treated, only_reference, neither: Pairs by which of their trials broke.
        difference: P(CO) with the treatment minus P(CO) with the reference; NaN without pairs.
        low, high: Its 95 % interval, by :func:`paired_difference_interval`.
        p_value: Of McNemar's exact test. Fewer than six pairs cannot bring it below 0.05.
        p_adjusted: The same after Holm's correction over all rows with ``all`` pairs, or over all others.
        onset_pairs: Pairs of which both broke; these alone compare the breaking points.
        onset_difference: Median over them of the treated breaking point minus the other, steps; negative is sooner.
            None without any.
        onset_low, onset_high: 95 % interval of that median from order statistics, steps (Conover, Practical
            Nonparametric Statistics, 1999, section 3.2); None with fewer than six pairs, for which there is none.
        onset_p: Of Wilcoxon's signed-rank test; None with fewer than six pairs, which cannot bring it below 0.05, or if
            no breaking point differs.
    """

    treatment: str
    reference: str
    stratum: str
    pairs: int
    left_out: int
    both: int
    only_treated: int
    only_reference: int
    neither: int
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    onset_pairs: int
    onset_difference: float | None
    onset_low: float | None
    onset_high: float | None
    onset_p: float | None


def effects(trials: Iterable[Row], by: str | None = None, reference: str | None = None) -> list[Effect]:
    """Effect of each intervention of a sweep against one of them.

    Args:
        trials: Rows of ``trials``.
        by: Column whose values also get rows of their own, if pairs have more than one.
        reference: What to compare with, as it is labelled; by default no intervention, without which the weakest.

    Returns:
        A row over all pairs for each intervention that has any, from weak to strong, then the rows by ``by``.

    Raises:
        UnknownNameError: If there is no intervention of that label; names those there are.
    """
    treatments = _treatments(trials)
    if reference is not None and reference not in treatments:
        raise UnknownNameError("intervention", reference, treatments)
    against = reference or next(iter(treatments), NONE)
    others = treatments.get(against, {})
    whole: list[Effect] = []
    strata: list[Effect] = []
    for label, treated in treatments.items():
        pairs = [(trial, others[key]) for key, trial in treated.items() if key in others]
        if label != against and pairs:
            whole.append(_effect(label, against, ALL, pairs))
            strata += [_effect(label, against, name, some) for name, some in _strata(pairs, by).items()]
    return _adjusted(whole) + _adjusted(strata)


def outer_columns(trials: Iterable[Row], columns: Sequence[str]) -> list[str]:
    """Columns that never differ between trials of one pair, and so are no part of the intervention."""
    groups: dict[str, list[Row]] = {}
    for trial in trials:
        groups.setdefault(_key(trial), []).append(trial)
    return [name for name in columns if all(len({t.get(name) for t in group}) == 1 for group in groups.values())]


def effect_rows(found: Iterable[Effect]) -> list[dict[str, Any]]:
    """The effects as rows of a table."""
    return [asdict(effect) for effect in found]


def effect_texts(effect: Effect) -> dict[str, str]:
    """An effect as people read it: ``intervention, over, pairs, counts, difference, p, onset``."""
    onset = "-"
    if effect.onset_difference is not None:
        ends = "" if effect.onset_low is None else f" [{effect.onset_low:+.0f}, {effect.onset_high:+.0f}]"
        onset = f"{effect.onset_difference:+.0f}{ends} ({effect.onset_pairs})"
    return {
        "intervention": f"{effect.treatment} vs {effect.reference}",
        "over": effect.stratum,
        "pairs": f"{effect.pairs}" + (f" ({effect.left_out} unclear)" if effect.left_out else ""),
        "counts": f"{effect.both} / {effect.only_treated} / {effect.only_reference} / {effect.neither}",
        "difference": f"{effect.difference:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]" if effect.pairs else "-",
        "p": f"{effect.p_value:.2g} ({effect.p_adjusted:.2g})" if effect.pairs else "-",
        "onset": onset,
    }


def paired_difference_interval(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """95 % interval of the difference of two paired proportions, the first minus the second.

    Wilson's intervals squared and added, with the correlation of the pairs (Newcombe, Stat. Med. 17:2635, 1998, method
    10). Of no pairs it is [-1, 1].
    """
    pairs = both + only_first + only_second + neither
    if not pairs:
        return Interval(-1.0, 1.0)
    first, second = (both + only_first) / pairs, (both + only_second) / pairs
    low_first, high_first = wilson(both + only_first, pairs, _LEVEL)
    low_second, high_second = wilson(both + only_second, pairs, _LEVEL)
    phi = _correlation(both, only_first, only_second, neither)

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))

    difference = first - second
    return Interval(
        difference - reach(first - low_first, high_second - second),
        difference + reach(high_first - first, second - low_second),
    )


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi of the pairs, with Newcombe's correction for continuity where it is positive; 0 where a margin is empty."""
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not margins:
        return 0.0
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - (both + only_first + only_second + neither) / 2, 0.0)
    return product / math.sqrt(margins)


def _key(trial: Row) -> str:
    """The trial's spec without its interventions."""
    spec = spec_of(trial)
    return json.dumps({name: value for name, value in spec.items() if name != "interventions"}, sort_keys=True)


def _treatments(trials: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Label of the interventions, from none to strong, to their trials by key.

    Of trials that share both, such as two kinds of injection of strength 0, one that says whether it broke is taken.
    """
    rows = sorted(trials, key=is_conclusive)
    found = sorted(((_acting(row), row) for row in rows), key=lambda item: _strength(item[0]))
    told = _told([interventions for interventions, _ in found])
    treatments: dict[str, dict[str, Row]] = {}
    for interventions, row in found:
        treatments.setdefault(_label(interventions, told), {})[_key(row)] = row
    return treatments


def _acting(trial: Row) -> list[dict[str, Any]]:
    """The trial's interventions without those that leave every image as it is, to the bit."""
    acting: list[dict[str, Any]] = []
    for intervention in spec_of(trial).get("interventions", []):
        idle = DECLARED["idle_at_zero"].get(intervention["kind"], ())
        nothing = any(intervention.get(option) == 0 for option in idle)
        clips = intervention.get("clamp") and acting  # the original images are within [0, 1]
        if not nothing or clips:
            acting.append(intervention)
    return acting


def _strength(interventions: list[dict[str, Any]]) -> list[tuple[str, float, float, list[float], str]]:
    """Sort key: by kinds, then from weak to strong; a pass filter changes less the more it keeps."""
    return [
        (
            i["kind"],
            i.get("beta", 0.0),
            -i.get("bandwidth", 0),
            [float(i[name]) for name in sorted(i) if isinstance(i[name], (int, float))],
            json.dumps(i),
        )
        for i in interventions
    ]


def _told(lists: Iterable[list[dict[str, Any]]]) -> list[str]:
    """Options that labels tell: strengths, and what differs within the sweep."""
    values: dict[str, set[str]] = {}
    for intervention in (i for interventions in lists for i in interventions):
        for name, value in intervention.items():
            values.setdefault(name, set()).add(json.dumps(value))
    others = [name for name in sorted(values) if len(values[name]) > 1 and name not in (*_STRENGTHS, "kind")]
    return [*_STRENGTHS, *others]


def _label(interventions: list[dict[str, Any]], told: list[str]) -> str:
    """Such as ``low_pass bandwidth 4 + inject beta 16/255, carriers dct_l2``."""
    texts = []
    for i in interventions:
        options = ", ".join(f"{name} {_text(name, i[name])}" for name in told if name in i)
        texts.append(f"{i['kind']} {options}".strip())
    return " + ".join(texts) or NONE


def _text(name: str, value: Any) -> str:
    return json.dumps(value) if isinstance(value, (bool, list, dict)) else format_value(name, value)


def _strata(pairs: Sequence[Pair], by: str | None) -> dict[str, list[Pair]]:
    """Pairs by the treated trial's value of a column, in the order of the values; none if there is only one value."""
    if by is None:
        return {}
    other = {treated["trial_id"]: reference for treated, reference in pairs}
    strata: dict[str, list[Pair]] = {}
    for (value,), members in by_place((treated for treated, _ in pairs), [by]).items():
        label = f"{by} {format_value(by, value)}"
        strata.setdefault(label, []).extend((trial, other[trial["trial_id"]]) for trial in members)
    return strata if len(strata) > 1 else {}


def _effect(treatment: str, reference: str, stratum: str, matched: Sequence[Pair]) -> Effect:
    from statsmodels.stats.contingency_tables import mcnemar

    pairs = [(treated, other) for treated, other in matched if is_conclusive(treated) and is_conclusive(other)]
    counts = Counter((bool(treated["co"]), bool(other["co"])) for treated, other in pairs)
    table = [[counts[treated, other] for other in (True, False)] for treated in (True, False)]
    (both, only_treated), (only_reference, neither) = table
    low, high = paired_difference_interval(both, only_treated, only_reference, neither)
    return Effect(
        treatment=treatment,
        reference=reference,
        stratum=stratum,
        pairs=len(pairs),
        left_out=len(matched) - len(pairs),
        both=both,
        only_treated=only_treated,
        only_reference=only_reference,
        neither=neither,
        difference=(only_treated - only_reference) / len(pairs) if pairs else math.nan,
        low=low,
        high=high,
        p_value=float(mcnemar(table, exact=True).pvalue),
        p_adjusted=math.nan,
        **_onset([t["co_step"] - other["co_step"] for t, other in pairs if t["co"] and other["co"]]),
    )


def _onset(differences: list[int]) -> dict[str, Any]:
    """How much sooner or later training breaks, as the fields of :class:`Effect`."""
    from scipy.stats import quantile_test, wilcoxon

    low = high = p_value = None
    if len(differences) >= _FEWEST_ONSETS:
        low, high = map(float, quantile_test(differences, q=0, p=0.5).confidence_interval(_LEVEL))
        p_value = float(wilcoxon(differences).pvalue) if any(differences) else None
    return {
        "onset_pairs": len(differences),
        "onset_difference": float(median(differences)) if differences else None,
        "onset_low": low,
        "onset_high": high,
        "onset_p": p_value,
    }


def _adjusted(found: list[Effect]) -> list[Effect]:
    """The rows with Holm's correction (Holm, Scand. J. Stat. 6:65, 1979); rows without pairs test nothing."""
    from statsmodels.stats.multitest import multipletests

    tests = [effect.p_value for effect in found if effect.pairs]
    values = iter(multipletests(tests, method="holm")[1] if tests else ())
    return [replace(effect, p_adjusted=float(next(values)) if effect.pairs else 1.0) for effect in found]
