"""What a trial measures besides its probes: diagnostics, snapshots, ablations. None changes the training."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
import torch

from cosweep.attacks import ThreatModel, correct, fgsm
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.metrics import ABLATIONS, Snapshot, TrialState
from cosweep.seeding import derive_seed
from cosweep.training.evaluation import Prober
from cosweep.training.trainer import Trainer
from tests.tiny import digits, tiny_spec, tiny_trainer
from tests.training.test_loop import finished
from tests.training.test_replay import register, stub_spec

EVERY_DIAGNOSTIC = [{"name": name, "examples": 8} for name in DIAGNOSTICS]


# --- diagnostics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "diagnostic_every", "steps"),
    [
        (1, 1, [1, 2, 3, 4, 5, 6, 7, 8]),
        (1, 3, [3, 6, 8]),
        (1, 8, [8]),
        (1, 100, [8]),
        (3, 2, [6, 8]),
        (3, 1, [3, 6, 8]),
    ],
)
def test_diagnostics_come_at_every_so_manieth_probe_and_at_the_last(
    every: int, diagnostic_every: int, steps: list[int]
) -> None:
    options = {"every": every, "diagnostics": [{"name": "delta_spectrum"}], "diagnostic_every": diagnostic_every}
    _, probes = finished(tiny_spec(probe=options))
    assert [probe.step for probe in probes if probe.diagnostics] == steps
    assert all(("delta_spectrum" in probe.to_dict()) is (probe.step in steps) for probe in probes)


def test_without_diagnostics_there_are_none() -> None:
    _, probes = finished(tiny_spec())
    assert all(probe.diagnostics == {} for probe in probes)


def test_diagnostics_come_at_the_probe_that_stops_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, range(7, 100), 2)
    probe = {"every": 5, "examples": 16, "diagnostics": [{"name": "ray"}], "diagnostic_every": 2}
    _, probes = finished(replace(stub_spec(after_steps=0), probe=tiny_spec(probe=probe).probe))
    assert [(p.step, bool(p.diagnostics)) for p in probes] == [(5, False), (10, True), (15, True)]


def test_diagnostics_look_at_the_model_of_their_step_with_the_settings_of_the_probe(trainers: list[Trainer]) -> None:
    probe = {"diagnostics": EVERY_DIAGNOSTIC, "pgd_steps": 4, "examples": 16}
    method = {"name": "fgsm", "epsilon": 0.5, "norm": "l2"}
    run, probes = finished(tiny_spec(probe=probe, method=method, interventions=[{"kind": "inject"}]))
    trainer = trainers[0]
    x, y = trainer.data.test_subset(16)
    prober = Prober(x, y, ThreatModel(0.5, trainer.data.box, "l2"), 4, seed=derive_seed(run.spec.seed, "probe"))
    assert prober.diagnose(trainer.model, run.spec.probe.diagnostics) == probes[-1].diagnostics


@pytest.mark.parametrize(
    ("method", "collapsed"),
    [
        ("rs_fgsm", ()),
        ("rs_fgsm", range(7, 100)),
        ("rs_fgsm", range(23, 100)),
        ("atas", range(7, 100)),  # has a memory
    ],
)
def test_training_with_all_measurements_is_bit_for_bit_the_training_without(
    method: str, collapsed: Collection[int], monkeypatch: pytest.MonkeyPatch, trainers: list[Trainer]
) -> None:
    register(monkeypatch, collapsed, 2)
    spec = stub_spec(
        data={"augment": "crop_flip"},
        method={"name": method, "epsilon": "16/255"},
        optimizer={"name": "adam", "lr_max": 0.01, "epochs": 6, "batch_size": 64},
    )
    plain, curve = finished(spec)
    probe = replace(spec.probe, diagnostics=tiny_spec(probe={"diagnostics": EVERY_DIAGNOSTIC}).probe.diagnostics)
    final = replace(spec.final, on=tuple(ABLATIONS))
    measured, measured_curve = finished(replace(spec, probe=replace(probe, snapshots=3), final=final))
    assert trainers[0].digest() == trainers[1].digest()
    assert all(len(p.diagnostics) == 7 for p in measured_curve)
    assert [replace(p, diagnostics={}) for p in measured_curve] == curve
    assert (measured.verdict, measured.robust_acc) == (plain.verdict, plain.robust_acc)
    assert plain.verdict.co is bool(collapsed)
    assert len(measured.snapshots) == (6 if collapsed else 3)


def test_a_trial_that_diverges_is_measured_and_ends_as_any_other() -> None:
    """The curvature of such a model once ended the trial as failed."""
    run, probes = finished(
        tiny_spec(
            optimizer={"lr_max": 1e30, "epochs": 3},
            probe={"diagnostics": EVERY_DIAGNOSTIC, "snapshots": 2},
            final={"on": list(ABLATIONS)},
        )
    )
    assert run.verdict.state is TrialState.DIVERGED
    assert len(probes[-1].diagnostics) == 7
    assert {snapshot.moment for snapshot in run.snapshots} == {"end"}
    assert set(run.final) == set(ABLATIONS)


# --- snapshots -------------------------------------------------------------------------------------------------------


def moments(snapshots: list[Snapshot]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((snapshot.moment, snapshot.step) for snapshot in snapshots))


@pytest.mark.parametrize(
    ("collapsed", "confirm", "after_steps", "expected"),
    [
        ((), 2, "never", [("end", 24)]),
        ({5, 15}, 2, "never", [("end", 24)]),  # single dips are no breaking point
        (range(7, 100), 1, "never", [("before", 6), ("after", 24)]),
        (range(7, 100), 2, "never", [("before", 6), ("after", 24)]),
        (range(7, 100), 3, 0, [("before", 6), ("after", 20)]),
        (range(1, 100), 2, "never", [("before", 0), ("after", 24)]),
        (range(11, 21), 2, "never", [("before", 10), ("after", 24)]),  # recovered
        (range(23, 100), 2, "never", [("before", 22), ("after", 24)]),  # settled by the replay at the end
        (range(23, 100), 3, "never", [("end", 24)]),
    ],
)
def test_snapshots_come_from_the_last_healthy_step_and_the_end_or_the_end_alone(
    collapsed: Collection[int],
    confirm: int,
    after_steps: int | str,
    expected: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(monkeypatch, collapsed, confirm)
    spec = stub_spec(after_steps=after_steps)
    run, _ = finished(replace(spec, probe=replace(spec.probe, snapshots=2)))
    assert moments(run.snapshots) == expected
    assert len(run.snapshots) == 2 * len(expected)
    assert run.verdict.co is (len(expected) == 2)
    if run.verdict.co:
        assert expected[0][1] == (run.verdict.co_step or 0) - 1


def test_without_a_number_of_snapshots_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, range(7, 100), 2)
    run, _ = finished(stub_spec())
    assert run.verdict.co
    assert run.snapshots == []


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_snapshot_holds_the_images_and_the_perturbation_of_the_model_at_its_step(
    norm: str, monkeypatch: pytest.MonkeyPatch, trainers: list[Trainer]
) -> None:
    register(monkeypatch, range(7, 100), 2)
    spec = stub_spec(
        interventions=[{"kind": "inject", "beta": "24/255"}],
        method={"name": "fgsm", "epsilon": 0.3, "norm": norm},
    )
    run, _ = finished(replace(spec, probe=replace(spec.probe, snapshots=4)))
    earlier = tiny_trainer(run.spec)
    while earlier.step < 6:
        earlier.advance()
    data = earlier.data
    index = data.test_index(4)
    x, y = data.test_subset(4)
    original = torch.tensor(digits(256).x_test)[index] / 16
    assert not torch.equal(x, original)
    for taken, model in ((run.snapshots[:4], earlier.model), (run.snapshots[4:], trainers[0].model)):
        deltas = fgsm(model.eval(), x, y, ThreatModel(0.3, data.box, run.spec.method.norm))
        assert [s.example for s in taken] == index.tolist()
        assert [s.label for s in taken] == y.tolist()
        assert all(s.shape == [1, 8, 8] for s in taken)
        for column, images in (("original", original), ("intervened", x), ("delta", deltas)):
            assert [getattr(s, column) for s in taken] == images.flatten(1).tolist()
    assert run.snapshots[0].delta != run.snapshots[4].delta


# --- final evaluation ------------------------------------------------------------------------------------------------


def injected(**final: Any) -> Any:
    return tiny_spec(interventions=[{"kind": "inject", "beta": "64/255"}], final=final)


def test_every_ablation_asked_for_has_its_accuracies(trainers: list[Trainer]) -> None:
    run, _ = finished(injected(on=list(ABLATIONS)[::-1]))
    assert list(run.final) == list(ABLATIONS)[::-1]
    trainer = trainers[0]
    for name, found in run.final.items():
        x, y = trainer.data.test_subset(64, name)
        assert found.clean_acc == correct(trainer.model.eval(), x, y).sum().item() / 64
        assert 0 <= found.robust_acc <= found.clean_acc
    assert run.robust_acc == run.final["injected"].robust_acc
    assert len({found.clean_acc for found in run.final.values()}) >= 3


def test_an_ablation_does_not_depend_on_the_others_asked_for() -> None:
    alone, together = finished(injected())[0], finished(injected(on=["clean", "injected", "reversed"]))[0]
    assert list(alone.final) == ["injected"]
    assert alone.final["injected"] == together.final["injected"]


def test_ablations_of_a_trial_without_a_feature_are_the_same_images() -> None:
    run, _ = finished(tiny_spec(final={"on": ["injected", "clean", "reversed", "permuted", "orthogonal"]}))
    assert len(set(run.final.values())) == 1


def test_autoattack_is_the_final_evaluation_where_asked_for() -> None:
    spec = tiny_spec(final={"attack": "autoattack", "examples": 8}, method={"epsilon": 0.5})
    run, _ = finished(spec)
    assert 0 <= run.robust_acc <= run.final["injected"].clean_acc
    assert run.robust_acc * 8 == int(run.robust_acc * 8)
