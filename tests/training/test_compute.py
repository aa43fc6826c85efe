"""How a trial computes: bfloat16 on the CPU, what each device refuses, and what a CPU can tell of the rest."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import input_gradient
from cosweep.errors import SpecError
from cosweep.methods import METHODS
from cosweep.models.preact_resnet import PreActResNet
from cosweep.parallel import Workers
from cosweep.training import TrialSpec, run_trial
from cosweep.training.checkpoint import resume_from, to_bytes
from cosweep.training.checks import Checker
from cosweep.training.compute import ComputedNetwork, ComputeSpec, capability_faults, compute_faults
from cosweep.training.loop import TrialRun, deterministic
from cosweep.training.trainer import Trainer
from tests.group import run_group
from tests.tiny import CPU, batch, digits, tiny_spec, tiny_trainer

BF16 = {"precision": "bf16"}
CUDA = torch.device("cuda")


def network(**options: Any) -> ComputedNetwork:
    mean, std = torch.full((1,), 0.5), torch.full((1,), 0.25)
    return ComputedNetwork(PreActResNet(width=4, low_pass=4).build(10, (1, 8, 8), mean, std, 0), ComputeSpec(**options))


def cosine(one: Tensor, other: Tensor) -> float:
    return functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


def test_bf16_gives_float32_logits_near_those_of_float32() -> None:
    x, _ = batch(64)
    exact, rounded = network()(x), network(**BF16)(x)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_bf16_leaves_weights_their_gradients_and_those_of_images_in_float32() -> None:
    x, y = batch(64)
    model, exact = network(**BF16), network()
    gradient = input_gradient(model, x, y)
    functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    functional.cross_entropy(exact(x), y).backward()  # type: ignore[no-untyped-call]
    assert {gradient.dtype, *(w.dtype for w in model.parameters()), *(w.dtype for w in model.buffers())} == {
        torch.float32,
        torch.int64,
    }
    assert cosine(gradient, input_gradient(exact, x, y)) > 0.99
    for weight, other in zip(model.parameters(), exact.parameters(), strict=True):
        assert weight.grad is not None
        assert other.grad is not None
        assert weight.grad.dtype == torch.float32
        assert cosine(weight.grad, other.grad) > 0.98


def test_bf16_follows_weights_that_change_between_passes_of_one_caller() -> None:
    x, _ = batch(8)
    model = network(**BF16).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model(x)
        model.get_parameter("2.head.bias").add_(1.0)
        assert (model(x) - before).mean().item() == pytest.approx(1.0, abs=0.02)


def test_the_filter_before_the_network_stays_in_float32() -> None:
    seen: list[Tensor] = []
    model = network(**BF16)
    model[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x, _ = batch(4)
    model(x)
    assert torch.equal(seen[0], model[1](model[0](x)))


@pytest.mark.parametrize(
    "options", [{}, BF16, {"channels_last": True}, pytest.param({"compile": True}, marks=pytest.mark.slow)]
)
def test_names_in_the_state_are_those_of_the_model(options: dict[str, Any]) -> None:
    plain = PreActResNet(width=4, low_pass=4).build(10, (1, 8, 8), torch.zeros(1), torch.ones(1), 0)
    assert network(**options).state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_in_bf16_and_retraces_bit_for_bit(name: str) -> None:
    trainer = tiny_trainer(tiny_spec(method={"name": name, "epsilon": "16/255"}, compute=BF16))
    trainer.advance()
    snapshot = trainer.snapshot()
    for _ in range(2):
        trainer.advance()
    digest = trainer.digest()
    trainer.restore(snapshot)
    for _ in range(2):
        trainer.advance()
    assert trainer.digest() == digest
    assert 0 < trainer.take_train_metrics().train_loss < 10


BREAKS: dict[str, Any] = {
    "interventions": [{"kind": "inject", "beta": "32/255"}],
    "method": {"name": "fgsm", "epsilon": "64/255"},
    "probe": {"examples": 128, "snapshots": 1},
    "final": {"steps": 2, "restarts": 1, "examples": 32},
    "stop": {"co": {"after_steps": 20}},
    "seed": 1,
}
"""Breaks at step 300 in float32."""


@pytest.mark.slow
def test_a_trial_in_bf16_breaks_and_its_replay_finds_the_step() -> None:
    run = run_trial(TrialSpec.from_dict(BREAKS | {"compute": BF16}), dataset=digits())
    curve = list(run)
    assert run.verdict.co
    assert run.verdict.co_step_low is not None
    assert run.verdict.co_step is not None
    assert run.verdict.co_step_low < run.verdict.co_step
    assert [snapshot.moment for snapshot in run.snapshots] == ["before", "after"]
    assert curve[-1].train_abnormal is not None


def test_a_trial_in_bf16_carries_on_from_a_checkpoint() -> None:
    spec = tiny_spec(compute=BF16)
    whole = run_trial(spec, dataset=digits(256))
    probes = iter(whole)
    next(probes)
    kept = to_bytes(whole, "images")
    list(probes)
    resumed = TrialRun(spec, CPU, digits(256))
    resume_from(kept, resumed, "images")
    list(resumed)
    assert (resumed.verdict, resumed.final, resumed.curve[-1]) == (whole.verdict, whole.final, whole.curve[-1])


def shared_step(workers: Workers) -> dict[str, Tensor]:
    trainer = Trainer(tiny_spec(compute=BF16), tiny_trainer(tiny_spec()).data, CPU, workers)
    trainer.advance()
    return {name: value.float() for name, value in trainer.model.state_dict().items()}


@pytest.mark.slow
def test_several_workers_train_in_bf16_as_one_does(tmp_path: Any) -> None:
    alone = shared_step(Workers(0, 1))
    one, other = run_group(shared_step, 2, tmp_path)
    for name, value in alone.items():
        assert torch.equal(one[name], other[name])
        torch.testing.assert_close(one[name], value, rtol=0.05, atol=0.05, msg=name)


@pytest.mark.parametrize(
    ("options", "device", "workers", "paths", "message"),
    [
        ({}, "cpu", 4, [], ""),
        (BF16, "cpu", 4, [], ""),
        (BF16, "sim", 1, ["precision"], "bf16 needs a CUDA device, and the trial is to run on device sim"),
        ({"precision": "tf32"}, "cpu", 1, ["precision"], r"tf32 needs .* run on the CPU; run it .* or write fp32$"),
        ({"channels_last": True}, "cpu", 1, ["channels_last"], r"seen to corrupt memory .*, or set it to false$"),
        ({"compile": True}, "cpu", 1, ["compile"], r"seen to corrupt memory .*, or set it to false$"),
        ({"compile": True}, "cuda", 2, ["compile"], "is not supported for 2 workers"),
        ({"precision": "tf32", "channels_last": True, "compile": True}, "cuda", 1, [], ""),
        ({"precision": "bf16", "channels_last": True}, "cuda", 2, [], ""),
    ],
)
def test_what_a_device_cannot_do_is_refused(
    options: dict[str, Any], device: str, workers: int, paths: list[str], message: str
) -> None:
    kind = torch.device("privateuseone") if device == "sim" else torch.device(device)
    message = message.replace("device sim", f"device {kind.type}")
    faults = list(compute_faults(ComputeSpec(**options), kind, workers))
    assert [fault.path for fault in faults] == [f"compute.{path}" for path in paths]
    for fault in faults:
        with pytest.raises(SpecError, match=message):
            raise SpecError([fault])
    if device != "sim":
        assert list(Checker(workers, device).faults(tiny_spec(compute=options), digits(256))) == faults


@pytest.mark.parametrize(("precision", "capability", "told"), [("tf32", (7, 5), 1), ("bf16", (8, 0), 0)])
def test_an_old_device_is_told(
    monkeypatch: pytest.MonkeyPatch, precision: Any, capability: tuple[int, int], told: int
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    faults = list(capability_faults(ComputeSpec(precision=precision), CUDA))
    assert [fault.message for fault in faults] == [
        "tf32 needs a CUDA device of capability 8.0 or more, and Tesla T4 has 7.5; write fp32, or use a newer GPU"
    ] * told


def test_a_trial_says_so_before_it_trains() -> None:
    run = run_trial(tiny_spec(compute={"precision": "tf32", "compile": True}), dataset=digits(256))
    with pytest.raises(SpecError, match=r"(?s)compute\.precision: tf32 needs a CUDA device.*compute\.compile: needs"):
        list(run)


def test_compile_is_refused_with_a_method_that_differentiates_twice() -> None:
    with pytest.raises(SpecError, match="no second derivatives, which grad_align takes; set it to false"):
        TrialSpec.from_dict({"method": {"name": "grad_align"}, "compute": {"compile": True}})


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("caller", ["highest", "medium"])
def test_products_are_in_float32_unless_tf32_is_asked_for(tf32: bool, caller: str) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(caller)
    try:
        assert torch.backends.cudnn.allow_tf32  # torch's default
        with deterministic(tf32=tf32):
            found = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            assert found == (tf32, tf32)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (caller, True)
    finally:
        torch.set_float32_matmul_precision(before)


def test_channels_last_reaches_weights_and_images() -> None:
    seen: list[Tensor] = []

    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.mean(dim=(2, 3))

    model = ComputedNetwork(nn.Sequential(nn.Identity(), Looks()), ComputeSpec(channels_last=True))
    x, y = batch(4, (3, 8, 8), classes=3)
    gradient = input_gradient(model, x, y)
    weight = next(model.parameters())
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert gradient.shape == x.shape


@pytest.fixture
def compiles_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler without its last stage, whose code for CPUs corrupts memory; the device is not asked."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr("cosweep.training.trainer.compute_faults", lambda *arguments: [])
    torch._dynamo.reset()


COMPILED = [name for name, method in METHODS.items() if not method.second_order]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_network_trains_as_one_that_is_not(name: str, compiles_on_the_cpu: None) -> None:
    spec = tiny_spec(method={"name": name, "epsilon": "16/255"})
    plain, compiled = tiny_trainer(spec), tiny_trainer(replace(spec, compute=ComputeSpec(compile=True)))
    for _ in range(5):
        plain.advance()
        compiled.advance()
    for one, other in zip(plain.model.state_dict().values(), compiled.model.state_dict().values(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_compiled_trial_breaks_and_its_replay_retraces(compiles_on_the_cpu: None) -> None:
    verdicts = []
    for compile in (False, True):
        run = run_trial(TrialSpec.from_dict(BREAKS | {"compute": {"compile": compile}}), dataset=digits())
        list(run)
        assert run.verdict.co
        verdicts.append(run.verdict)
    assert verdicts[0] == verdicts[1]  # the compiler without its last stage computes the same


def test_measurements_run_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counting(forward: Any, **options: Any) -> Any:
        def run(x: Tensor) -> Tensor:
            calls.append(len(x))
            logits: Tensor = forward(x)
            return logits

        return run

    monkeypatch.setattr(torch, "compile", counting)
    model = network(compile=True)
    x, _ = batch(3)
    model(x)
    model.eval()(x)
    assert calls == [3]


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; pytest -m gpu where one is")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_real_gpu_trains_breaks_and_retraces(precision: str, channels_last: bool, compiled: bool) -> None:
    how = {"precision": precision, "channels_last": channels_last, "compile": compiled}
    spec = TrialSpec.from_dict(BREAKS | {"compute": how})
    if list(capability_faults(spec.compute, CUDA)):
        pytest.skip(f"{torch.cuda.get_device_name()} is too old for {precision}")
    whole = run_trial(spec, CUDA, dataset=digits())
    probes = iter(whole)
    next(probes)
    kept = to_bytes(whole, "images")
    list(probes)
    assert whole.curve[-1].clean_acc > 0.3
    resumed = TrialRun(spec, CUDA, digits())
    resume_from(kept, resumed, "images")
    list(resumed)
    assert (resumed.verdict, resumed.curve[-1]) == (whole.verdict, whole.curve[-1])
