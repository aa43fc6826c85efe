"""A training carried on by another process gives the numbers of one that nobody disturbed."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import asdict
from typing import Any

import pytest
import torch

from cosweep.training import TrialRun, TrialSpec
from cosweep.training.checkpoint import CheckpointError, resume_from, to_bytes
from tests.tiny import CPU, digits, tiny_spec

BREAKING: dict[str, Any] = {
    "data": {"source": "digits", "train_examples": 512},
    "interventions": [{"kind": "inject", "beta": "24/255"}],
    "model": {"name": "preact_resnet", "width": 8, "blocks": [1, 1]},
    "method": {"name": "fgsm", "epsilon": "96/255"},
    "optimizer": {"batch_size": 64, "epochs": 30},
    "probe": {"examples": 128, "pgd_steps": 4, "snapshots": 1, "diagnostics": [{"name": "delta_cos"}]},
    "final": {"steps": 3, "restarts": 1, "examples": 64},
    "stop": {"co": {"after_steps": 15}},
}


def new_run(spec: TrialSpec) -> TrialRun:
    return TrialRun(spec, CPU, digits(spec.data.train_examples))


def outcome(run: TrialRun) -> list[str]:
    """All that a trial leaves, but for clocks."""
    curve = [repr(asdict(probe)) for probe in run.curve]
    return [*curve, repr(run.verdict), repr(run.robust_acc), repr(run.snapshots), str(run.status), str(run.steps)]


def carried_on(spec: TrialSpec, at: int) -> TrialRun:
    """A run that was given up after some probes, kept as bytes, and carried on."""
    first = new_run(spec)
    for _, _ in zip(range(at), first):
        pass
    second = new_run(spec)
    resume_from(to_bytes(first, "hash"), second, "hash")
    assert [p.step for p in second] == [p.step for p in second.curve[at:]]
    return second


@pytest.fixture(scope="module")
def undisturbed() -> TrialRun:
    run = new_run(TrialSpec.from_dict(BREAKING))
    for _ in run:
        pass
    assert run.verdict.co, "this training is to break, so that a replay is part of what is compared"
    return run


def test_it_does_not_matter_where_a_training_that_breaks_was_interrupted(undisturbed: TrialRun) -> None:
    onset = next(i for i, probe in enumerate(undisturbed.curve) if probe.step == undisturbed.verdict.co_step_high)
    for at in (onset - 1, onset, len(undisturbed.curve) - 1):
        assert outcome(carried_on(undisturbed.spec, at)) == outcome(undisturbed), at


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"name": "free", "replays": 2}},
        {"method": {"name": "atas"}},
        {"optimizer": {"momentum_min": 0.5, "batch_size": 60, "epochs": 2}},
        {"optimizer": {"name": "adam", "lr_max": 0.01, "batch_size": 60, "epochs": 2}},
        {"data": {"source": "digits", "train_examples": 256, "augment": "crop_flip"}},
    ],
)
def test_what_methods_and_optimizers_remember_is_kept(changes: dict[str, Any]) -> None:
    spec = tiny_spec(**changes)
    whole = new_run(spec)
    for _ in whole:
        pass
    assert outcome(carried_on(spec, 1)) == outcome(whole)


def test_a_training_that_has_not_begun_or_has_ended_has_no_state() -> None:
    ended = new_run(tiny_spec())
    for _ in ended:
        pass
    for run in (new_run(tiny_spec()), ended):
        with pytest.raises(RuntimeError, match="only a training that goes on"):
            run.state()


@pytest.fixture(scope="module")
def kept() -> bytes:
    run = new_run(tiny_spec())
    next(iter(run))
    return to_bytes(run, "hash")


def resume(content: bytes, spec: TrialSpec | None = None, data_hash: str = "hash") -> None:
    resume_from(content, new_run(spec or tiny_spec()), data_hash)


@pytest.mark.parametrize("length", [0, 10, 32, 33, 1000, -1])
def test_a_half_written_checkpoint_is_refused(kept: bytes, length: int) -> None:
    with pytest.raises(CheckpointError, match="damaged or half written"):
        resume(kept[:length])


def test_a_flipped_bit_is_noticed(kept: bytes) -> None:
    flipped = bytearray(kept)
    flipped[len(kept) // 2] ^= 1
    with pytest.raises(CheckpointError, match="damaged"):
        resume(bytes(flipped))


def test_a_checkpoint_of_other_things_is_refused(kept: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    resume(kept)
    with pytest.raises(CheckpointError, match=r"it is of trial .*, not "):
        resume(kept, tiny_spec(seed=1))
    with pytest.raises(CheckpointError, match="it is of data hash, not other"):
        resume(kept, data_hash="other")
    monkeypatch.setattr(torch, "__version__", "1.0")
    with pytest.raises(CheckpointError, match=r"it is of torch .*, not 1\.0"):
        resume(kept)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_that_would_run_code_is_refused() -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return pytest.fail, ("code of a checkpoint ran",)

    buffer = io.BytesIO()
    torch.save({"origin": {}, "state": Attack()}, buffer)
    content = buffer.getvalue()
    with pytest.raises(CheckpointError, match="more than tensors and plain values"):
        resume(hashlib.sha256(content).digest() + content)
    plain = pickle.dumps(Attack())
    with pytest.raises(CheckpointError, match="more than tensors and plain values"):
        resume(hashlib.sha256(plain).digest() + plain)
