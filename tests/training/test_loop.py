"""One trial from start to end, on 256 digits: 64 a step, four steps an epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cosweep.data import Dataset
from cosweep.detection import Chance, CurveReader, Detector
from cosweep.metrics import ProbeMetrics, TrialState, TrialStatus
from cosweep.training import TrialRun, TrialSpec, loop, run_trial
from cosweep.training.examples import Examples
from cosweep.training.loop import deterministic
from cosweep.training.trainer import Trainer
from tests.tiny import digits, tiny_spec


def finished(spec: TrialSpec) -> tuple[TrialRun, list[ProbeMetrics]]:
    run = run_trial(spec, dataset=digits(spec.data.train_examples))
    return run, list(run)


# --- probes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "steps"), [(3, [3, 6, 8]), (4, [4, 8]), (1, list(range(1, 9))), (100, [8])])
def test_probes_come_every_so_many_steps_and_at_the_last(every: int, steps: list[int]) -> None:
    run, probes = finished(tiny_spec(probe={"every": every}))
    assert [probe.step for probe in probes] == steps
    assert [probe.epoch for probe in probes] == [step / 4 for step in steps]
    assert (run.status, run.error, run.steps, run.total_steps, run.steps_per_epoch) == ("completed", "", 8, 8, 4)


def test_probes_and_outcome_are_fractions_counted_over_the_held_out_examples() -> None:
    run, probes = finished(tiny_spec())
    for probe in probes:
        for accuracy in (probe.clean_acc, probe.fgsm_acc, probe.pgd_acc):
            assert 0 <= accuracy <= 1
            assert accuracy * 64 == int(accuracy * 64)
        assert 0 < probe.lr <= 0.2
        assert math.isfinite(probe.train_loss)
        assert -1 <= probe.grad_cos <= 1
    assert run.robust_acc * 64 == int(run.robust_acc * 64)


def test_a_trial_that_never_leaves_chance_is_not_robust_and_did_not_diverge() -> None:
    run, probes = finished(tiny_spec(optimizer={"lr_max": 1e-9, "epochs": 1}, probe={"every": 1}))
    assert len(probes) == 4
    assert run.verdict.state is TrialState.NOT_ROBUST


@pytest.mark.parametrize(("kept", "chance"), [((0, 1), 35 / 66), ((0, 5, 9), 41 / 101)])
def test_chance_is_that_of_the_labels_that_are_probed(
    kept: tuple[int, ...], chance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Chance] = []

    class Seen(CurveReader):
        def __init__(self, detector: Detector, chance: Chance) -> None:
            seen.append(chance)
            super().__init__(detector, chance)

    monkeypatch.setattr(loop, "CurveReader", Seen)
    whole = digits()
    train, test = (np.isin(labels, kept) for labels in (whole.y_train, whole.y_test))
    some = Dataset(
        whole.x_train[train], whole.y_train[train], whole.x_test[test], whole.y_test[test], max(kept) + 1, 16
    )  # fmt: skip
    list(run_trial(tiny_spec(data={"train_examples": None}, probe={"examples": 256}), dataset=some))
    count = np.bincount(some.y_test).max()
    assert seen == [Chance(len(kept), count / len(some.y_test), len(some.y_test))]
    assert seen[0].accuracy == chance


def test_outcome_is_known_only_at_the_end() -> None:
    run = run_trial(tiny_spec(), dataset=digits(256))
    probes = iter(run)
    next(probes)
    assert (run.status, run.steps) == (None, 3)
    assert math.isnan(run.robust_acc)
    assert len(list(probes)) == 2
    assert run.status is TrialStatus.COMPLETED
    assert not math.isnan(run.robust_acc)


def test_time_is_taken_of_every_part() -> None:
    run, _ = finished(tiny_spec())
    assert run.timings.train_seconds > 0
    assert run.timings.probe_seconds > 0
    assert run.timings.eval_seconds > 0


def test_same_spec_gives_the_same_curve_and_another_seed_another() -> None:
    (one, curve), (same, same_curve), (_, other_curve) = (finished(tiny_spec(seed=seed)) for seed in (1, 1, 2))
    assert curve == same_curve
    assert one.robust_acc == same.robust_acc
    assert curve != other_curve


def test_images_may_be_given_or_loaded() -> None:
    spec = tiny_spec()
    assert list(run_trial(spec)) == finished(spec)[1]


@pytest.mark.parametrize(("asked", "used"), [(64, 64), (1000, 360)])
def test_how_many_images_were_used_is_told(asked: int, used: int) -> None:
    run, _ = finished(tiny_spec(probe={"examples": asked}, final={"examples": asked}))
    assert run.examples == Examples(256, 360, 10, "1x8x8", used, used)
    assert run.robust_acc * used == pytest.approx(round(run.robust_acc * used))


def test_how_often_is_probed_does_not_change_the_training(trainers: list[Trainer]) -> None:
    seldom, often = (finished(tiny_spec(probe={"every": every}))[1] for every in (4, 1))
    assert trainers[0].digest() == trainers[1].digest()
    shared = [p for p in often if p.step in (4, 8)]
    assert [p.pgd_acc for p in shared] == [p.pgd_acc for p in seldom]
    mean = sum(p.train_loss for p in often[:4]) / 4
    assert seldom[0].train_loss == pytest.approx(mean, rel=1e-5)


def test_final_evaluation_is_not_above_the_clean_accuracy_of_the_same_examples() -> None:
    run, probes = finished(tiny_spec())
    assert run.robust_acc <= probes[-1].clean_acc


# --- divergence ------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_trial_as_diverged_with_the_remedy() -> None:
    run, probes = finished(tiny_spec(optimizer={"lr_max": 1e30, "epochs": 3}))
    assert run.status is TrialStatus.STOPPED
    assert run.verdict.state is TrialState.DIVERGED
    assert not run.verdict.co
    assert not math.isfinite(probes[-1].train_loss)
    assert all(math.isfinite(probe.train_loss) for probe in probes[:-1])
    assert f"by step {probes[-1].step}; lower optimizer.lr_max" in run.error


# --- settings of the process -----------------------------------------------------------------------------------------


def settings() -> tuple[object, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.initial_seed(),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
    )


def test_a_trial_leaves_the_settings_and_generators_of_torch_as_found() -> None:
    before = settings()
    finished(tiny_spec())
    assert settings() == before


def test_a_trial_that_is_abandoned_leaves_the_settings_as_found() -> None:
    before = settings()
    probes = iter(run_trial(tiny_spec(), dataset=digits(256)))
    next(probes)
    probes.close()  # type: ignore[attr-defined]
    assert settings() == before


def test_settings_come_back_after_an_error() -> None:
    before = settings()

    def fail() -> None:
        with deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert settings() == before
