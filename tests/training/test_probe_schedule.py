"""When a training is probed: decisions of the schedule alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from cosweep.attacks import ThreatModel
from cosweep.errors import SpecError
from cosweep.methods import METHODS
from cosweep.training import TrialSpec
from cosweep.training.evaluation import Prober
from cosweep.training.probe_schedule import ProbeSchedule, Watch
from cosweep.training.train_metrics import AbnormalShare
from cosweep.units import Box
from tests.tiny import tiny_spec

FIXED = ProbeSchedule(total=100, every=30, fixed=True, trigger=False)
PROBER = Prober(torch.rand(100, 1, 2, 2), torch.arange(100) % 10, ThreatModel(0.1, Box(0.0, 1.0), "linf"), 10, seed=3)
FREE = ProbeSchedule(total=100, every=30, fixed=False, trigger=True)


@pytest.mark.parametrize(
    ("schedule", "step", "told", "due"),
    [
        (FIXED, 0, {}, 30),
        (FIXED, 30, {}, 60),
        (FIXED, 44, {}, 60),
        (FIXED, 90, {}, 100),  # the last step is always probed
        (FIXED, 30, {"unsettled": True}, 60),  # a fixed rate stays fixed
        (FIXED, 30, {"stop_at": 47}, 60),
        (FREE, 30, {}, 60),
        (FREE, 44, {}, 60),
        (FREE, 30, {"unsettled": True}, 41),
        (FREE, 55, {"unsettled": True}, 60),
        (FREE, 30, {"stop_at": 47}, 47),
        (FREE, 30, {"unsettled": True, "stop_at": 47}, 41),
        (FREE, 50, {"stop_at": 47}, 60),  # known too late
        (FREE, 95, {"unsettled": True, "stop_at": 150}, 100),
    ],
)
def test_the_next_probe(schedule: ProbeSchedule, step: int, told: dict[str, Any], due: int) -> None:
    assert schedule.due(step, **told) == due


@pytest.mark.parametrize(
    ("step", "now", "lately", "stirs"),
    [
        (31, 0.026, 0.0, True),
        (31, 0.025, 0.0, False),  # no more than at the last look
        (30, 0.9, 0.0, False),  # too soon after it
        (31, 0.12, 0.1, False),
        (31, 0.126, 0.1, True),
        (31, 0.6, 0.5, False),  # high, and long so
    ],
)
def test_a_look_is_due_when_the_share_of_abnormal_examples_grows(
    step: int, now: float, lately: float, stirs: bool
) -> None:
    watch = Watch(PROBER)
    watch.settle(20, AbnormalShare(0.025, 0.0))
    assert watch.stirs(step, AbnormalShare(now, lately)) is stirs


def test_a_look_measures_the_first_images_of_a_probe() -> None:
    looker = Watch(PROBER).looker
    assert len(looker.x) == len(looker.y) == 64
    assert torch.equal(looker.x, PROBER.x[:64])
    assert replace(looker, x=PROBER.x, y=PROBER.y) == PROBER


@pytest.mark.parametrize(("step", "reading"), [(0, 5), (4, 5), (5, 10), (57, 60), (58, 59)])
def test_the_signal_is_read_every_fifth_step(step: int, reading: int) -> None:
    due = 59 if step == 58 else 60
    assert FREE.reading(step, due) == reading
    assert FIXED.reading(step, due) == due


@pytest.mark.parametrize(
    ("probe", "method", "held_out", "every"),
    [
        # A probe of 256 images takes 27 passes of each, a step 4 of each of 64: 27 steps' worth, 270 at a tenth.
        ({}, "fgsm", 1000, 270),
        ({"budget": 0.2}, "fgsm", 1000, 135),
        ({"budget": 1.0}, "fgsm", 1000, 27),
        ({"grad_cos": False}, "fgsm", 1000, 250),
        ({"examples": 64}, "fgsm", 1000, 68),
        ({}, "fgsm", 64, 68),
        ({"pgd_steps": 50}, "fgsm", 10_000, 1070),
        ({}, "pgd", 1000, 50),  # whose step takes 22 passes
        ({"every": 13, "budget": 0.5}, "fgsm", 1000, 13),
    ],
)
def test_scheduled_probes_cost_the_budget(probe: dict[str, Any], method: str, held_out: int, every: int) -> None:
    spec = TrialSpec.from_dict({"probe": probe, "method": {"name": method}, "optimizer": {"batch_size": 64}})
    assert ProbeSchedule.of(spec, 100_000, held_out).every == every


@pytest.mark.parametrize(("total", "every"), [(575, 144), (100, 25), (5, 2), (3, 1), (1, 1)])
def test_a_short_training_has_four_probes_all_the_same(total: int, every: int) -> None:
    assert ProbeSchedule.of(TrialSpec(), total, 1000).every == every


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("every", "trigger"), [(None, None), (7, None), (None, False), (7, True), (None, True)])
def test_a_method_that_shows_abnormal_examples_triggers_unless_the_rate_is_fixed(
    method: str, every: int | None, trigger: bool | None
) -> None:
    raw = {"probe": {"every": every, "trigger": trigger}, "method": {"name": method}}
    shows = METHODS[method].shows_start
    if trigger and not shows:
        with pytest.raises(SpecError, match=rf"probe\.trigger: reads the share .* training by {method} does not show"):
            TrialSpec.from_dict(raw)
        return
    expected = (shows and every is None) if trigger is None else trigger
    assert ProbeSchedule.of(TrialSpec.from_dict(raw), 1000, 1000).trigger is expected


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"budget": 0}, r"probe\.budget"),
        ({"budget": 1.1}, r"probe\.budget"),
        ({"budget": "much"}, r"probe\.budget"),
        ({"budget": None}, r"probe\.budget"),
        ({"trigger": 0.3}, r"probe\.trigger"),
        ({"trigger": "always"}, r"probe\.trigger"),
        ({"every": 0}, r"probe\.every"),
    ],
)
def test_what_cannot_be_a_schedule_is_a_fault(probe: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        tiny_spec(probe=probe)
