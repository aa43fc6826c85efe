"""Effects of interventions: which trials are paired, and known answers for what is computed of the pairs."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
import torch
from scipy import stats

from cosweep.analysis.effects import (
    ALL,
    NONE,
    Effect,
    effect_rows,
    effects,
    outer_columns,
    paired_difference_interval,
)
from cosweep.data import INTERVENTIONS
from cosweep.data.injections import Inject
from cosweep.data.interventions import ImageSet
from cosweep.errors import UnknownNameError
from tests.results.rows import broken_row, trial_row


def trial(
    *interventions: dict[str, Any], seed: int = 0, epsilon: float = 0.25, co: int | None = None, **row: Any
) -> Any:
    """A trial with some interventions that broke at step ``co``, or did not."""
    spec = {"interventions": list(interventions), "method": {"name": "fgsm", "epsilon": epsilon}, "seed": seed}
    columns = {"epsilon": epsilon, "seed": seed, "spec_json": json.dumps(spec), **row}
    name = f"{interventions}{seed}{epsilon}"
    return trial_row(name, **columns) if co is None else broken_row(name, co, **columns)


def inject(beta: float, **options: Any) -> dict[str, Any]:
    return {"kind": "inject", "beta": beta, "carriers": "dct_sign", **options}


def only(found: list[Effect]) -> Effect:
    (effect,) = found
    return effect


# --- the interval ----------------------------------------------------------------------------------------------------

# Newcombe, Stat. Med. 17:2635, 1998, table III, method 10; complete response to therapy (Cavo et al., 2012) by the R
# package contingencytables (Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables, 2017);
# thallium stress tests, Altman et al., Statistics with Confidence, 2000, chapter 6.
NEWCOMBE = [
    ((36, 12, 2, 0), 0.2, (0.0569, 0.3404)),
    ((20, 12, 2, 16), 0.2, (0.0562, 0.3292)),
    ((18, 12, 2, 18), 0.2, (0.0562, 0.3290)),
    ((36, 14, 0, 0), 0.28, (0.1528, 0.4167)),
    ((18, 14, 0, 18), 0.28, (0.1441, 0.3963)),
    ((2, 97, 1, 0), 0.96, (0.8721, 0.9854)),
    ((0, 29, 1, 0), 28 / 30, (0.6666, 0.9882)),
    ((0, 30, 0, 0), 1.0, (0.8395, 1.0)),
    ((54, 0, 0, 0), 0.0, (-0.0664, 0.0664)),
    ((53, 0, 0, 1), 0.0, (-0.0729, 0.0729)),
    ((27, 0, 0, 27), 0.0, (-0.0351, 0.0351)),
    ((59, 6, 16, 80), -0.0621, (-0.1186, -0.0046)),
    ((14, 5, 0, 22), 5 / 41, (0.0115, 0.2265)),
]


@pytest.mark.parametrize(("table", "difference", "ends"), NEWCOMBE)
def test_published_intervals(table: tuple[int, int, int, int], difference: float, ends: tuple[float, float]) -> None:
    both, first, second, neither = table
    assert (first - second) / sum(table) == pytest.approx(difference, abs=5e-5)
    assert paired_difference_interval(both, first, second, neither) == pytest.approx(ends, abs=1e-4)


def test_an_interval_holds_the_difference_and_turns_with_the_sides() -> None:
    rng = random.Random(0)
    for _ in range(200):
        both, first, second, neither = (rng.randrange(6) for _ in range(4))
        if total := both + first + second + neither:
            low, high = paired_difference_interval(both, first, second, neither)
            assert -1 - 1e-9 <= low <= (first - second) / total <= high <= 1 + 1e-9
            turned = paired_difference_interval(both, second, first, neither)
            assert turned == pytest.approx((-high, -low), abs=1e-12)


def test_no_pair_says_nothing() -> None:
    assert paired_difference_interval(0, 0, 0, 0) == (-1, 1)


# --- the pairs -------------------------------------------------------------------------------------------------------


def test_trials_are_paired_by_everything_but_the_intervention() -> None:
    trials = [
        *(trial(seed=seed, epsilon=e) for seed in (0, 1) for e in (0.2, 0.3)),
        trial(inject(0.1), seed=0, epsilon=0.2),
        trial(inject(0.1), seed=1, epsilon=0.2, co=30),
        trial(inject(0.1), seed=0, epsilon=0.3, co=40),
        trial(inject(0.1), seed=7, epsilon=0.3, co=40),  # no partner
    ]
    effect = only(effects(trials))
    assert (effect.treatment, effect.reference, effect.stratum) == ("inject beta 25.5/255", NONE, ALL)
    assert (effect.pairs, effect.both, effect.only_treated, effect.only_reference, effect.neither) == (3, 0, 2, 0, 1)
    assert effect.difference == pytest.approx(2 / 3)
    assert effect.onset_difference is None


def test_strength_zero_is_no_intervention_whatever_its_kind() -> None:
    trials = [trial(inject(0.0)), trial({"kind": "shuffled", "beta": 0}, co=9), trial(inject(0.1), seed=1)]
    assert effects(trials) == []
    assert only(effects([trial(inject(0.0)), trial(inject(0.1), co=5)])).reference == NONE


@pytest.mark.parametrize("clamp", [False, True])
def test_strength_zero_leaves_every_bit_where_it_counts_as_no_intervention(clamp: bool) -> None:
    images = ImageSet(num_classes=10, shape=(1, 8, 8), examples=20, device=torch.device("cpu"))
    x = torch.rand((20, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 10
    for kind, intervention in INTERVENTIONS.items():
        if issubclass(intervention, Inject):
            same = torch.equal(intervention(beta=0.0, clamp=clamp).bind(images)(x, y, torch.arange(20)), x)
            told = [e.treatment for e in effects([trial(), trial({"kind": kind, "beta": 0.0, "clamp": clamp})])]
            assert same == (told == []), kind


def test_without_a_trial_left_as_it_is_the_first_label_is_the_reference_and_another_can_be_named() -> None:
    trials = [trial(inject(0.1), seed=s, co=9) for s in (0, 1)] + [trial(inject(0.2), seed=s) for s in (0, 1)]
    assert only(effects(trials)).reference == "inject beta 25.5/255"
    effect = only(effects(trials, reference="inject beta 51/255"))
    assert (effect.treatment, effect.difference) == ("inject beta 25.5/255", 1.0)
    with pytest.raises(UnknownNameError, match="unknown intervention 'shared'; known: inject beta"):
        effects(trials, reference="shared")


def test_labels_tell_what_differs_and_nothing_else() -> None:
    trials = [
        trial(),
        trial(inject(0.1, carriers="dct_l2")),
        trial(inject(0.1)),
        trial({"kind": "low_pass", "bandwidth": 4}, inject(0.1)),
    ]
    assert [effect.treatment for effect in effects(trials)] == [
        "inject beta 25.5/255, carriers dct_l2",
        "inject beta 25.5/255, carriers dct_sign",
        "low_pass bandwidth 4 + inject beta 25.5/255, carriers dct_sign",
    ]
    assert only(effects(trials[::2])).treatment == "inject beta 25.5/255"


def test_treatments_stand_from_weak_to_strong() -> None:
    weak = [{"kind": "low_pass", "bandwidth": b} for b in (8, 4)]
    trials = [trial(i) for i in (weak[1], inject(128 / 255), inject(16 / 255), weak[0], inject(32 / 255))]
    found = effects(trials)
    assert {effect.reference for effect in found} == {"inject beta 16/255"}
    expected = ["inject beta 32/255", "inject beta 128/255", "low_pass bandwidth 8", "low_pass bandwidth 4"]
    assert [effect.treatment for effect in found] == expected


def test_of_trials_with_one_key_and_one_treatment_one_that_says_is_taken() -> None:
    lost = trial({"kind": "shared", "beta": 0.0}, status="failed", state=None, co=None)
    for zeros in ([lost, trial(inject(0.0))], [trial(inject(0.0)), lost]):
        effect = only(effects([*zeros, trial(inject(0.1), co=5)]))
        assert (effect.pairs, effect.left_out, effect.difference) == (1, 0, 1.0)


def test_where_no_pair_says_the_row_is_kept_and_tests_nothing() -> None:
    trials = [trial(), trial(inject(0.1), state="diverged"), trial(inject(0.2), co=5)]
    unclear, clear = effects(trials)
    assert (unclear.pairs, unclear.left_out, unclear.low, unclear.high) == (0, 1, -1, 1)
    assert math.isnan(unclear.difference)
    assert clear.p_adjusted == clear.p_value


@pytest.mark.parametrize(
    "lost", [{"state": "diverged"}, {"state": "not_robust"}, {"status": "failed", "state": None, "co": None}]
)
def test_pairs_with_a_trial_that_does_not_say_are_left_out_and_counted(lost: dict[str, Any]) -> None:
    trials = [trial(), trial(seed=1), trial(inject(0.1), co=9), trial(inject(0.1), seed=1) | lost]
    effect = only(effects(trials))
    assert (effect.pairs, effect.left_out) == (1, 1)


def test_the_values_of_an_axis_get_rows_of_their_own() -> None:
    trials = [trial(epsilon=e) for e in (0.2, 0.4)] + [
        trial(inject(0.1), epsilon=0.2),
        trial(inject(0.1), epsilon=0.4, co=5),
    ]
    found = effects(trials, by="epsilon")
    assert [(effect.stratum, effect.pairs, effect.difference) for effect in found] == [
        (ALL, 2, 0.5),
        ("epsilon 51/255", 1, 0.0),
        ("epsilon 102/255", 1, 1.0),
    ]


def test_an_axis_with_one_value_has_no_rows_of_its_own() -> None:
    trials = [trial(), trial(inject(0.1), co=5)]
    assert effects(trials, by="epsilon") == effects(trials, by="no such column") == effects(trials)


def test_an_axis_of_the_intervention_is_no_outer_one() -> None:
    trials = [trial(inject(b), seed=s, epsilon=e, beta=b) for b in (0.0, 0.1) for s in (0, 1) for e in (0.2, 0.3)]
    assert outer_columns(trials, ["beta", "epsilon", "seed"]) == ["epsilon", "seed"]


# --- tests and onset -------------------------------------------------------------------------------------------------


def test_mcnemars_exact_test_is_the_binomial_test_of_the_pairs_that_differ() -> None:
    trials = [trial(seed=s, co=9 if s < 1 else None) for s in range(12)]
    trials += [trial(inject(0.1), seed=s, co=9 if s > 2 else None) for s in range(12)]
    effect = only(effects(trials))
    assert (effect.only_treated, effect.only_reference) == (9, 1)
    assert effect.p_value == pytest.approx(stats.binomtest(1, 10).pvalue)


def test_holms_correction_counts_the_treatments() -> None:
    trials = [trial(seed=s) for s in range(8)]
    for beta in (0.1, 0.2, 0.3):
        trials += [trial(inject(beta), seed=s, co=9 if beta == 0.2 else None) for s in range(8)]
    found = {effect.treatment: effect for effect in effects(trials)}
    strong = found["inject beta 51/255"]
    assert strong.p_value == pytest.approx(2 * 0.5**8)
    assert strong.p_adjusted == pytest.approx(3 * 2 * 0.5**8)


def test_the_onset_is_compared_where_both_broke() -> None:
    differences = [-80, -60, -50, -40, -30, -20, -10, 5]
    trials = [trial(seed=s, co=100) for s in range(9)]
    trials += [trial(inject(0.1), seed=s, co=100 + d) for s, d in enumerate(differences)] + [trial(inject(0.1), seed=8)]
    effect = only(effects(trials))
    assert (effect.onset_pairs, effect.onset_difference) == (8, -35)
    # Order statistics 1 and 8 of 8: their coverage is 1 - 2/256, that of 2 and 7 is .93.
    assert (effect.onset_low, effect.onset_high) == (-80, 5)
    assert effect.onset_p == pytest.approx(stats.wilcoxon(differences).pvalue)


def test_few_onsets_have_no_interval() -> None:
    trials = [trial(seed=s, co=100) for s in range(5)] + [trial(inject(0.1), seed=s, co=90) for s in range(5)]
    effect = only(effects(trials))
    assert (effect.onset_pairs, effect.onset_difference, effect.onset_low, effect.onset_p) == (5, -10, None, None)


def test_the_order_of_the_trials_does_not_matter() -> None:
    trials = [trial(seed=s) for s in range(4)] + [trial(inject(0.1), seed=s, co=5 + s) for s in range(4)]
    shuffled = random.Random(0).sample(trials, len(trials))
    assert effect_rows(effects(trials)) == effect_rows(effects(shuffled))


def test_treatments_come_in_order_of_their_numbers() -> None:
    grouped = [{"kind": "grouped", "beta": 0.1, "groups": groups} for groups in (10, 2, 5)]
    found = effects([trial(), *(trial(one) for one in grouped)])
    assert [effect.treatment.rpartition(" ")[2] for effect in found] == ["2", "5", "10"]


def test_no_trial_has_no_effect() -> None:
    assert effects([]) == []
