"""Detectors: decisions as tables, and laws over all rules."""

from __future__ import annotations

import math
import random

import pytest

from cosweep.detection import DETECTORS, Chance, CurveReader, Detector, Verdict
from cosweep.detection.chance import TEN_CLASSES
from cosweep.detection.collapse import Collapse
from cosweep.detection.published import FGSMPGDGap, GradientCosine, WongDrop
from cosweep.metrics import ProbeMetrics, TrialState

Row = tuple[float, float, float]
"""Clean, FGSM and PGD accuracy of one probe."""

EVERY = 10
NAN_ROW = (math.nan, math.nan, math.nan)
RISE: list[Row] = [(0.50, 0.33, 0.30), (0.60, 0.38, 0.35), (0.65, 0.42, 0.38)]
ROBUST: Row = (0.66, 0.42, 0.38)
COLLAPSED: Row = (0.80, 0.95, 0.02)
CHANCE: Row = (0.10, 0.10, 0.10)


def probes(rows: list[Row], *, grad_cos: float = 0.9) -> list[ProbeMetrics]:
    """Probes every ten steps, an epoch each; the gradient cosine falls where FGSM accuracy is far above PGD's."""
    return [
        ProbeMetrics(
            step=(index + 1) * EVERY,
            epoch=index + 1.0,
            clean_acc=clean,
            fgsm_acc=fgsm,
            pgd_acc=pgd,
            grad_cos=0.05 if fgsm - pgd > 0.5 else grad_cos,
        )
        for index, (clean, fgsm, pgd) in enumerate(rows)
    ]


def read(detector: Detector, rows: list[Row], chance: Chance = TEN_CLASSES) -> Verdict:
    reader = CurveReader(detector, chance)
    for probe in probes(rows):
        reader.update(probe)
    return reader.verdict


@pytest.mark.parametrize(
    ("rows", "classes", "flagged", "state"),
    [
        pytest.param([], 10, None, "not_robust", id="no probe yet"),
        pytest.param(RISE, 10, None, "healthy", id="robustness grows"),
        pytest.param([*RISE, *[COLLAPSED] * 3], 10, 40, "co", id="catastrophic overfitting"),
        pytest.param([*RISE, *[COLLAPSED] * 8], 10, 40, "co", id="stays collapsed"),
        pytest.param([*RISE, *[(0.45, 0.85, 0.03)] * 4], 10, 40, "co", id="clean accuracy dips at the onset"),
        pytest.param([*RISE, *[(0.8, 0.95, 0.0)] * 3], 10, 40, "co", id="to zero"),
        pytest.param([*RISE, COLLAPSED, COLLAPSED], 10, None, "healthy", id="two probes do not confirm"),
        pytest.param(
            [*RISE, COLLAPSED, COLLAPSED, ROBUST, COLLAPSED, COLLAPSED, ROBUST], 10, None, "healthy", id="short dips"
        ),
        pytest.param([*RISE, COLLAPSED, ROBUST, *[COLLAPSED] * 3], 10, 60, "co", id="a dip, then a collapse"),
        pytest.param([*RISE, *[COLLAPSED] * 3, *[ROBUST] * 3], 10, 40, "recovered", id="recovers"),
        pytest.param([*RISE, *[COLLAPSED] * 3, *[ROBUST] * 2], 10, 40, "co", id="two good probes do not recover"),
        pytest.param(
            [*RISE, *[COLLAPSED] * 3, *[ROBUST] * 3, *[COLLAPSED] * 3], 10, 40, "co", id="recovers and breaks again"
        ),
        pytest.param([*RISE, *[CHANCE] * 3], 10, None, "diverged", id="falls to chance"),
        pytest.param([*RISE, *[COLLAPSED] * 3, *[CHANCE] * 3], 10, 40, "diverged", id="breaks, then falls to chance"),
        pytest.param([(0.3, 0.12, 0.08)] * 6, 10, None, "not_robust", id="never robust"),
        pytest.param([(0.3, 0.02, 0.01), (0.4, 0.04, 0.02), (0.5, 0.25, 0.22)], 10, None, "healthy", id="late start"),
        pytest.param([(0.9, 0.95, 0.0)] * 4, 10, 10, "co", id="FGSM masked from the first probe"),
        pytest.param(
            [*RISE, (0.7, 0.44, 0.36), (0.75, 0.45, 0.33), (0.8, 0.46, 0.30), (0.82, 0.46, 0.28)], 10, None, "healthy",
            id="robust overfitting is a slow decline",
        ),
        pytest.param([*RISE, *[(0.4, 0.1, 0.06)] * 4], 10, None, "healthy", id="FGSM accuracy falls as well"),
        pytest.param(
            [(0.40, 0.22, 0.18), (0.45, 0.24, 0.20), (0.50, 0.25, 0.20), *[(0.45, 0.60, 0.02)] * 3], 100, 40, "co",
            id="a hundred classes peak at 0.2",
        ),
        pytest.param(
            [(0.40, 0.22, 0.18), (0.45, 0.24, 0.20), (0.50, 0.25, 0.20), (0.5, 0.26, 0.19)], 100, None, "healthy",
            id="a hundred classes, healthy",
        ),
        pytest.param([*RISE, NAN_ROW], 10, None, "diverged", id="NaN"),
        pytest.param([NAN_ROW, NAN_ROW], 10, None, "diverged", id="NaN from the first probe"),
        pytest.param([*RISE, *[COLLAPSED] * 3, NAN_ROW], 10, 40, "diverged", id="NaN after a collapse"),
        pytest.param([*RISE, (0.6, 0.4, math.nan)], 10, None, "diverged", id="one NaN in a row"),
        pytest.param([CHANCE] * 6, 10, None, "not_robust", id="never left chance"),
        pytest.param([(0.3, 0.1, 0.05), *[CHANCE] * 3], 10, None, "diverged", id="learned, then falls to chance"),
        pytest.param(
            [(0.98, 0.80, 0.75), (0.98, 0.82, 0.78), (0.97, 0.99, 0.02), (0.97, 1, 0), (0.97, 1, 0)], 2, 30, "co",
            id="two classes",
        ),
        pytest.param([(1.0, 0.97, 0.65)] * 4, 2, None, "healthy", id="digits 0 and 1 at epsilon 80/255"),
        pytest.param([(1.0, 0.97, 0.54)] * 4, 2, None, "not_robust", id="two classes, robust by a constant answer"),
        pytest.param([(0.9, 0.6, 0.5), *[(0.9, 0.95, 0.1)] * 3], 3, 20, "co", id="three classes"),
        pytest.param([(0.9, 0.6, 0.5)] * 4, 3, None, "healthy", id="three classes, healthy"),
        pytest.param([(0.5, 0.5, 0.5), *[(0.9, 0.2, 0.0)] * 4], 2, None, "not_robust", id="FGSM breaks it as well"),
    ],
)  # fmt: skip
def test_collapse_decides_by_table(rows: list[Row], classes: int, flagged: int | None, state: str) -> None:
    verdict = read(Collapse(), rows, Chance(classes))
    assert (verdict.co_step, verdict.state) == (flagged, state)
    assert verdict.co is (flagged is not None)


CONSTANT: Row = (0.6, 0.6, 0.6)
UNEVEN = Chance(10, largest=0.6)


@pytest.mark.parametrize(
    ("rows", "chance", "flagged", "state"),
    [
        pytest.param([(0.23, 0.23, 0.23)] * 4, Chance(10, 0.196, 256), None, "not_robust", id="an SVHN of 256 images"),
        pytest.param([(0.23, 0.23, 0.23)] * 4, Chance(10, 0.23), None, "not_robust", id="the largest class is known"),
        pytest.param([CONSTANT] * 4, UNEVEN, None, "not_robust", id="60 % of one class, constant answer"),
        pytest.param([(0.65, 0.6, 0.56)] * 4, UNEVEN, None, "not_robust", id="60 % of one class, attacked"),
        pytest.param([CONSTANT, *[(0.9, 0.7, 0.25)] * 4], UNEVEN, None, "not_robust", id="no constant answer is lost"),
        pytest.param(
            [CONSTANT, (0.8, 0.7, 0.65), (0.9, 0.75, 0.4), *[(0.9, 0.97, 0.02)] * 3], UNEVEN, 40, "co",
            id="60 % of one class, breaks",
        ),
        pytest.param(
            [(0.9, 0.95, 0.0)] * 3 + [(0.65, 0.6, 0.6)] * 3, UNEVEN, 10, "co", id="a constant answer is no recovery"
        ),
        pytest.param([(0.4, 0.4, 0.4)] * 4, Chance(3, 0.4, 360), None, "not_robust", id="labels 0, 5 and 9 only"),
        pytest.param([(3 / 256, 2 / 256, 2 / 256)] * 4, Chance(200, None, 256), None, "not_robust", id="200 classes"),
        pytest.param([(5 / 256,) * 3] * 4, Chance(150, 5 / 256, 256), None, "not_robust", id="200 classes, constant"),
        pytest.param([(0.3, 0.12, 0.1)] * 4, Chance(150, 5 / 256, 256), None, "healthy", id="200 classes, healthy"),
        pytest.param([*RISE, *[(0.18, 0.17, 0.1)] * 3], Chance(10), None, "healthy", id="above chance, noise unknown"),
        pytest.param([*RISE, *[(0.18, 0.17, 0.1)] * 3], Chance(10, None, 64), None, "diverged", id="12 of 64 images"),
        pytest.param([(1.0, 1.0, 1.0)] * 4, Chance(1, 1.0, 5), None, "not_robust", id="one class alone says nothing"),
    ],
)  # fmt: skip
def test_collapse_decides_beside_what_a_constant_answer_reaches(
    rows: list[Row], chance: Chance, flagged: int | None, state: str
) -> None:
    verdict = read(Collapse(), rows, chance)
    assert (verdict.co_step, verdict.state) == (flagged, state)


@pytest.mark.parametrize(
    ("chance", "guess_limit", "robust_floor"),
    [
        (Chance(10), 0.15, 0.2),
        (Chance(100), 0.015, 0.02),
        (Chance(2), 0.5 + 1 / 36, 0.5 + 1 / 18),
        (Chance(3), 1 / 3 + 1 / 27, 1 / 3 + 2 / 27),
        (Chance(10, 0.6), 0.6 + 0.4 / 18, 0.6 + 0.4 / 18),
        (Chance(10, 0.13, 256), 0.13 + 3 * math.sqrt(0.13 * 0.87 / 256), 0.2),  # of a draw from even classes
        (Chance(2, 0.5, 64), 0.5 + 3 / 16, 0.5 + 1 / 18),
    ],
)
def test_limits_above_chance(chance: Chance, guess_limit: float, robust_floor: float) -> None:
    assert chance.guess_limit == pytest.approx(guess_limit)
    assert chance.robust_floor == pytest.approx(robust_floor)


def test_chance_of_labels_is_the_share_of_the_largest_class() -> None:
    assert Chance.of_labels([0, 5, 9, 9, 5, 9]) == Chance(3, 0.5, 6)
    assert Chance.of_labels([7]) == Chance(1, 1.0, 1)


@pytest.mark.parametrize("largest", [0.05, 1.5, -1.0])
def test_a_largest_class_that_cannot_be_is_refused(largest: float) -> None:
    with pytest.raises(ValueError, match=rf"the largest of 10 classes has a share from 0\.1 to 1, got {largest:g}"):
        Chance(10, largest)


def test_collapse_says_between_which_probes_it_began_and_why() -> None:
    verdict = read(Collapse(), [*RISE, *[COLLAPSED] * 3])
    assert (verdict.co_step, verdict.co_step_low, verdict.co_step_high) == (40, 30, 40)
    assert "0.02" in verdict.co_reason
    assert "0.95" in verdict.co_reason
    assert verdict.to_dict() == {
        "state": "co",
        "co": True,
        "co_step": 40,
        "co_step_low": 30,
        "co_step_high": 40,
        "co_reason": verdict.co_reason,
    }


def test_collapse_at_the_first_probe_began_after_step_zero() -> None:
    verdict = read(Collapse(), [(0.9, 0.95, 0.0)] * 3)
    assert (verdict.co_step, verdict.co_step_low, verdict.co_step_high) == (10, 0, 10)


def test_suspicion_holds_from_the_first_collapsed_probe_to_the_verdict() -> None:
    reader = CurveReader(Collapse())
    suspicions = []
    for probe in probes([*RISE, COLLAPSED, ROBUST, *[COLLAPSED] * 4]):
        reader.update(probe)
        suspicions.append(reader.suspect)
    assert suspicions == [False, False, False, True, False, True, True, False, False]


@pytest.mark.parametrize(
    ("curve", "flagged"), [((0.30, 0.35, 0.38), None), ((0.30, 0.36, 0.02), 30), ((0.01, 0.02, 0.20), None)]
)
def test_wong_drop_decides_by_table(curve: tuple[float, ...], flagged: int | None) -> None:
    rows = [(0.6, 0.4, pgd) for pgd in curve]
    assert read(WongDrop(), rows).co_step == flagged


def test_wong_drop_compares_with_a_probe_an_epoch_older() -> None:
    """Probes a tenth of an epoch apart: a slide of 0.25 over an epoch is a drop, no single probe shows it."""
    slide = [0.40 - 0.025 * max(0, i - 10) for i in range(22)]
    reader = CurveReader(WongDrop())
    for index, pgd in enumerate(slide):
        reader.update(ProbeMetrics(step=index, epoch=index / 10, clean_acc=0.6, fgsm_acc=0.45, pgd_acc=pgd))
    assert reader.verdict.co_step == 19  # 0.40 at 0.9 epochs, 0.175 at 1.9


def test_wong_drop_misses_a_full_collapse_of_a_hundred_classes() -> None:
    rows = [(0.45, 0.22, 0.18), (0.5, 0.24, 0.19), (0.45, 0.6, 0.01), (0.45, 0.6, 0.01)]
    assert not read(WongDrop(), rows, Chance(100)).co


@pytest.mark.parametrize(("fgsm", "pgd", "flagged"), [(0.99, 0.02, True), (0.95, 0.10, False), (0.5, 0.45, False)])
def test_gap_decides_by_fgsm_minus_pgd(fgsm: float, pgd: float, flagged: bool) -> None:
    assert read(FGSMPGDGap(), [(0.8, fgsm, pgd)]).co is flagged


@pytest.mark.parametrize(
    ("cosine", "flagged"), [(0.9, False), (0.3, False), (0.1, True), (-0.1, True), (math.nan, False)]
)
def test_gradient_cosine_decides_by_its_threshold(cosine: float, flagged: bool) -> None:
    reader = CurveReader(GradientCosine())
    reader.update(ProbeMetrics(step=1, clean_acc=0.6, fgsm_acc=0.4, pgd_acc=0.4, grad_cos=cosine))
    assert reader.verdict.co is flagged


# --- laws over all rules ---------------------------------------------------------------------------------------------


def random_rows(seed: int, n: int = 40) -> list[Row]:
    """Stretches of healthy, collapsed, chance and NaN probes in random order."""
    rng = random.Random(seed)
    rows: list[Row] = []
    while len(rows) < n:
        kind = rng.choices([ROBUST, COLLAPSED, CHANCE, NAN_ROW, (0.7, 0.99, 0.03)], weights=[4, 3, 1, 0.5, 3])[0]
        rows += [kind] * rng.randint(1, 6)
    return rows


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("seed", range(20))
def test_a_rule_decides_once(name: str, seed: int) -> None:
    reader = CurveReader(DETECTORS[name]())
    found: Verdict | None = None
    for probe in probes(random_rows(seed)):
        verdict = reader.update(probe)
        assert verdict == reader.verdict
        if found is None and verdict.co:
            found = verdict
            assert verdict.co_step is not None
            assert verdict.co_step <= probe.step
            assert verdict.co_step_low is not None
            assert verdict.co_step_low < verdict.co_step == verdict.co_step_high
            assert verdict.co_reason
        if found is not None:
            onset = (verdict.co_step, verdict.co_step_low, verdict.co_step_high, verdict.co_reason)
            assert onset == (found.co_step, found.co_step_low, found.co_step_high, found.co_reason)
            assert verdict.state in (TrialState.CO, TrialState.RECOVERED, TrialState.DIVERGED)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("seed", range(5))
def test_asking_whether_a_probe_looks_collapsed_changes_nothing(name: str, seed: int) -> None:
    asked, left_alone = CurveReader(DETECTORS[name]()), CurveReader(DETECTORS[name]())
    others = probes(random_rows(seed + 100))
    for probe, other in zip(probes(random_rows(seed)), others, strict=False):
        answers = [asked.collapsed(other), asked.collapsed(probe), asked.collapsed(other)]
        assert answers[0] == answers[2]
        assert asked.update(probe) == left_alone.update(probe)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("classes", [10, 100])
def test_a_healthy_curve_is_never_flagged(name: str, seed: int, classes: int) -> None:
    rng = random.Random(seed)
    peak = 0.5 if classes == 10 else 0.2
    reader = CurveReader(DETECTORS[name](), Chance(classes))
    rows: list[Row] = []
    for index in range(60):
        pgd = peak * min(1.0, (index + 4) / 20) + rng.uniform(-0.02, 0.02)
        rows.append((min(1.0, 1.6 * pgd + 0.1), 1.15 * pgd + rng.uniform(0, 0.02), pgd))
    states = set()
    for probe in probes(rows):
        verdict = reader.update(probe)
        assert not verdict.co
        states.add(verdict.state)
    assert reader.verdict.state is TrialState.HEALTHY
    assert states <= {TrialState.HEALTHY, TrialState.NOT_ROBUST}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_full_collapse_is_flagged_at_its_first_probe(name: str) -> None:
    verdict = read(DETECTORS[name](), [*RISE, *[(0.8, 0.99, 0.01)] * 4])
    assert (verdict.co_step, verdict.co_step_low, verdict.state) == (40, 30, TrialState.CO)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_row_of_nan_is_a_divergence_and_no_collapse(name: str) -> None:
    verdict = read(DETECTORS[name](), [*RISE, NAN_ROW])
    assert (verdict.state, verdict.co) == (TrialState.DIVERGED, False)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_rule_has_a_source(name: str) -> None:
    assert DETECTORS[name].source


@pytest.mark.parametrize(("gap", "flagged"), [(0.2, False), (0.25, True)])
def test_limits_are_options(gap: float, flagged: bool) -> None:
    """PGD accuracy 0.191 under FGSM accuracy 0.957."""
    assert read(Collapse(gap=gap), [(0.84, 0.957, 0.2)] * 4).co is flagged
