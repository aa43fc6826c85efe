"""The detector, the replay and the stop, judged by a stub that finds the steps collapsed that a test names."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from cosweep.detection import DETECTORS, Detector, Past
from cosweep.errors import SpecError
from cosweep.methods import Batch
from cosweep.methods.fgsm import FGSM
from cosweep.metrics import ProbeMetrics, TrialState, TrialStatus
from cosweep.training import TrialSpec, loop, replay
from cosweep.training.replay import Replay, ReplayError
from cosweep.training.train_metrics import AbnormalShare, TrainMetrics
from cosweep.training.trainer import Trainer
from tests.tiny import tiny_spec
from tests.training.test_loop import finished


def register(
    monkeypatch: pytest.MonkeyPatch, collapsed_steps: Collection[int], confirm_probes: int, name: str = "stub"
) -> None:
    """Put a detector on the menu to which the probes at these steps look collapsed."""

    stub = name

    class Stub(Detector):
        name: ClassVar[str] = stub
        source: ClassVar[str] = "test"
        confirm: ClassVar[int] = confirm_probes

        def collapsed(self, probe: ProbeMetrics, past: Past) -> bool:
            return probe.step in collapsed_steps

        def reason(self, onset: ProbeMetrics, past: Past) -> str:
            return f"from step {onset.step}"

    monkeypatch.setitem(DETECTORS, name, Stub)


def stub_spec(
    after_steps: int | str = "never", every: int | None = 5, trigger: bool | None = None, **changes: Any
) -> TrialSpec:
    """Twenty-four steps, judged by the registered stub."""
    return tiny_spec(
        probe={"every": every, "budget": 0.01, "trigger": trigger, "examples": 16, "pgd_steps": 4},
        stop={"co": {"detector": "stub", "after_steps": after_steps}},
        **{"optimizer": {"epochs": 6}, **changes},
    )


@pytest.mark.parametrize("confirm", [1, 2, 3])
@pytest.mark.parametrize("first", [1, 4, 5, 6, 8, 10, 11])
def test_replay_finds_the_first_collapsed_step_between_probes(
    first: int, confirm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, range(first, 100), confirm)
    run, _ = finished(stub_spec())
    verdict = run.verdict
    low = (first - 1) // 5 * 5
    assert (verdict.co_step, verdict.co_step_low, verdict.co_step_high) == (first, low, low + 5)
    assert verdict.state is TrialState.CO
    assert verdict.co_reason == f"from step {low + 5}"


@pytest.mark.parametrize(
    ("first", "confirm", "expected"),
    [(22, 3, 22), (23, 3, None), (23, 2, 23), (24, 1, 24), (24, 2, None), (19, 3, 19), (16, 3, 16)],
)
def test_a_collapse_in_the_last_probes_is_settled_by_the_replay(
    first: int, confirm: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes come at 5, 10, 15, 20 and 24, the last step: too few after the onset to confirm it alone."""
    register(monkeypatch, range(first, 100), confirm)
    run, _ = finished(stub_spec())
    assert (run.verdict.co_step, run.verdict.co) == (expected, expected is not None)
    assert (run.status, run.steps) == (TrialStatus.COMPLETED, 24)


@pytest.mark.parametrize(
    ("collapsed", "expected"),
    [
        ({6, 9, 10, 15, 20}, 9),
        ({6, 7, 8, 9, 10, 15, 20}, 6),
        ({10, 15, 20}, 10),
        ({3, 5, 11, 15, 20}, 15),  # the dip at 5 was healthy again at 10
        ({3, 5, 14, 15, 20}, 14),
        ({7, 9, 10, 15, 20}, 7),  # where collapsed and healthy steps take turns, one of the changes
    ],
)
def test_breaking_point_is_a_change_from_healthy_to_collapsed_before_the_onset(
    collapsed: set[int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, collapsed, 2)
    assert finished(stub_spec())[0].verdict.co_step == expected


@pytest.mark.parametrize("first", [31, 39, 52, 60])
def test_the_replay_probes_few_steps_whatever_the_marks(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty steps are halved five times or, near their end, less often. Marks on the way only save time."""
    register(monkeypatch, range(first, 100), 2)
    spec = stub_spec(every=30, optimizer={"epochs": 16, "lr_max": 0.01}, trigger=False)
    asked: list[int] = []
    measured = replay.measured

    def counted(trainer: Trainer, *rest: Any) -> ProbeMetrics:
        asked.append(trainer.step)
        return measured(trainer, *rest)

    monkeypatch.setattr(replay, "measured", counted)
    verdict = finished(spec)[0].verdict
    assert (verdict.co_step, verdict.co_step_low, verdict.co_step_high) == (first, 30, 60)
    assert len(asked) <= 6
    with_marks = list(asked)
    asked.clear()
    monkeypatch.setattr(Replay, "mark", lambda self: None)
    assert finished(spec)[0].verdict == verdict
    assert asked == with_marks


def test_a_change_is_probed_closely_at_once_and_a_broken_training_ends_to_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 100 steps every 25th is probed; the collapse at 50 asks for 61 and 72, and the training ends at 39 + 40."""
    register(monkeypatch, range(39, 200), 3)
    run, probes = finished(stub_spec(40, every=None, optimizer={"epochs": 25, "lr_max": 0.01}, trigger=False))
    assert [probe.step for probe in probes] == [25, 50, 61, 72, 75, 79]
    assert (run.verdict.co_step, run.status, run.steps) == (39, "stopped", 79)


def test_abnormal_training_examples_ask_for_a_look_and_a_collapsed_look_for_a_probe(
    monkeypatch: pytest.MonkeyPatch, trainers: list[Trainer]
) -> None:
    """The share is read every fifth step: of no more than at the last look, or too soon after it, nothing comes."""
    now = {5: 0.03, 10: 0.03, 15: 0.03, 20: 0.9, 30: 0.03, 40: 0.04, 45: 0.9, 55: 0.9, 65: 0.08, 70: 0.9, 90: 0.9}
    register(monkeypatch, {65}, 3)
    monkeypatch.setattr(
        TrainMetrics, "abnormal_share", lambda *_: AbnormalShare(now.get(trainers[0].step, 0.0), lately=0.0)
    )
    measured = replay.measured
    steps: list[int] = []

    def recorded(trainer: Trainer, *rest: Any) -> ProbeMetrics:
        steps.append(trainer.step)
        return measured(trainer, *rest)

    monkeypatch.setattr(loop, "measured", recorded)
    run, probes = finished(stub_spec(every=None, optimizer={"epochs": 25, "lr_max": 0.01}))
    assert [probe.step for probe in probes] == [25, 50, 65, 75, 86, 97, 100]  # closely until three are healthy
    assert steps == [15, 25, 40, 50, 65, 65, 75, 86, 97, 100]
    assert not run.verdict.co


@pytest.mark.parametrize("confirm", [1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_goes_on_after_the_replay_as_if_there_had_been_none(
    confirm: int, optimizer: str, monkeypatch: pytest.MonkeyPatch, trainers: list[Trainer]
) -> None:
    changes: dict[str, Any] = {
        "data": {"augment": "crop_flip"},
        "method": {"name": "rs_fgsm", "epsilon": "16/255"},
        "optimizer": {"name": optimizer, "lr_max": 0.01, "epochs": 6, "batch_size": 64},
    }
    register(monkeypatch, range(7, 100), confirm)
    replayed, replayed_curve = finished(stub_spec(**changes))
    register(monkeypatch, (), confirm)
    untouched, curve = finished(stub_spec(**changes))
    assert (replayed.verdict.co_step, untouched.verdict.co_step) == (7, None)
    assert trainers[0].digest() == trainers[1].digest()
    assert replayed_curve == curve
    assert replayed.robust_acc == untouched.robust_acc
    assert replayed.steps == untouched.steps == 24


@pytest.mark.parametrize(
    ("after", "last", "status"),
    [
        (0, 15, "stopped"),
        (8, 15, "stopped"),
        (9, 20, "stopped"),
        (13, 20, "stopped"),
        (14, 24, "completed"),
        ("never", 24, "completed"),
    ],
)
def test_training_goes_on_for_so_many_steps_after_the_breaking_point(
    after: int | str, last: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, range(7, 100), 2)
    run, probes = finished(stub_spec(after_steps=after))
    assert run.verdict.co_step == 7
    assert (probes[-1].step, run.steps, run.status) == (last, last, status)
    assert run.total_steps == 24
    assert run.error == ""
    assert not math.isnan(run.robust_acc)


def test_a_trial_that_does_not_break_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, {5, 15}, 2)
    run, _ = finished(stub_spec(after_steps=0))
    assert (run.status, run.steps, run.verdict.co) == ("completed", 24, False)


def test_an_unknown_detector_is_a_fault_of_the_spec() -> None:
    with pytest.raises(SpecError, match=r"stop\.co\.detector: unknown detector 'stub'"):
        stub_spec()


@dataclass(frozen=True, kw_only=True)
class Forgetful(FGSM):
    """FGSM whose perturbation depends on how often it was asked: no seed brings a step back."""

    calls: ClassVar[list[int]] = []

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        self.calls.append(1)
        return super().perturb(model, batch) / len(self.calls)


@pytest.mark.parametrize("confirm", [1, 3])
def test_a_replay_that_leaves_the_trajectory_raises(confirm: int, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, range(7, 100), confirm)
    with pytest.raises(ReplayError, match=r"the replay of steps 6-10 did not retrace the training"):
        finished(replace(stub_spec(), method=Forgetful(epsilon=0.1)))
