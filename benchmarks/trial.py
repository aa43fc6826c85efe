"""A trial and its parts beside a plainly written one, as the paper's released code has it.

    python benchmarks/trial.py [--beta 48] [--epsilon 64] [--repeats 3] [--fixed]

The plain trial is a loop: FGSM steps to the end, every 11 steps FGSM and PGD-10 on 256 held-out images, PGD-50-10 on
all held-out images at the end, every image by every iterate. cosweep's is a trial by its defaults, `--fixed` one that
probes every 11 steps. Parts and trials take turns, so that a shared machine slows them alike. Prints two Markdown
tables; a pass is one image through the network, forward or backward. Runs on a CUDA device if there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.data.batches import DeviceData
from cosweep.training import TrialRun, TrialSpec
from cosweep.training.evaluation import Prober, evaluating, robust_accuracy
from cosweep.training.trainer import Trainer
from cosweep.units import Box

PROBE_EVERY, PROBE_EXAMPLES, PROBE_STEPS = 11, 256, 10
RESTARTS, STEPS = 10, 50
TIMED_STEPS = 20


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    spec = spec_of(options)
    print(f"{name}, torch {torch.__version__}, FGSM, epsilon {options.epsilon}/255, beta {options.beta}/255\n")
    ours, plain = Ours(spec, device), Plain(spec, device)
    for _ in range(ours.trainer.total_steps):  # so that what is measured is a trained network, the same for both
        ours.trainer.advance()
    plain.model.load_state_dict(ours.trainer.model.state_dict())
    print("| part | passes, plain | passes / plain | seconds, plain | seconds / plain |\n|---|---|---|---|---|")
    for part, tasks in {
        f"{TIMED_STEPS} steps": (ours.steps, plain.steps),
        "probe": (ours.probe, plain.probe),
        f"PGD-{STEPS}-{RESTARTS}": (ours.evaluate, plain.evaluate),
    }.items():
        print(f"| {part} | {compared(ours, plain, *tasks, options.repeats, device)} |", flush=True)
    print("\n| trial | seconds | of it training | robust accuracy | breaking point | peak memory |")
    print("|---|---|---|---|---|---|")
    for repeat in range(options.repeats):
        print(f"| plain {repeat} | {plain_trial(spec, device)} |", flush=True)
        print(f"| cosweep {repeat} | {our_trial(spec, device)} |", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilon", type=int, default=64, help="in grey levels")
    parser.add_argument("--beta", type=int, default=48, help="in grey levels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fixed", action="store_true", help="probe every 11 steps")
    return parser.parse_args()


def spec_of(options: argparse.Namespace) -> TrialSpec:
    """The quickstart's training."""
    return TrialSpec.from_dict(
        {
            "interventions": [{"kind": "inject", "beta": f"{options.beta}/255"}] if options.beta else [],
            "method": {"name": "fgsm", "epsilon": f"{options.epsilon}/255"},
            "probe": {"every": PROBE_EVERY if options.fixed else None},
        }
    )


class Counted:
    """Counts the passes of a model: one image forward or backward each."""

    def __init__(self, model: nn.Module) -> None:
        self.passes = 0
        model.register_forward_hook(self._forward)

    def _forward(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.passes += len(output)
        if output.requires_grad:
            output.register_hook(self._backward)

    def _backward(self, gradient: Tensor) -> None:
        self.passes += len(gradient)


class Ours:
    """The parts of a cosweep trial."""

    def __init__(self, spec: TrialSpec, device: torch.device) -> None:
        self.data = DeviceData(spec.data.load(), spec.data, spec.interventions, spec.seed, device)
        self.trainer = Trainer(spec, self.data, device)
        self.counted = Counted(self.trainer.model)
        self.threat = spec.method.threat(self.data.box)
        self.held_out = self.data.test_subset(10**9)
        self.prober = Prober(*self.data.test_subset(PROBE_EXAMPLES), self.threat, PROBE_STEPS, 0, with_grad_cos=False)

    def steps(self) -> None:
        """Train, and go back."""
        before = self.trainer.snapshot()
        for _ in range(TIMED_STEPS):
            self.trainer.advance()
        self.trainer.restore(before)

    def probe(self) -> None:
        """Measure clean, FGSM and PGD accuracy."""
        self.prober.measure(self.trainer.model)

    def evaluate(self) -> float:
        """Robust accuracy on all held-out images."""
        options = {"steps": STEPS, "restarts": RESTARTS, "seed": 0}
        return robust_accuracy(self.trainer.model, *self.held_out, self.threat, **options)  # type: ignore[arg-type]


class Plain:
    """The same trial as a script would have it."""

    def __init__(self, spec: TrialSpec, device: torch.device) -> None:
        data = DeviceData(spec.data.load(), spec.data, spec.interventions, spec.seed, device)
        trainer = Trainer(spec, data, device)
        self.spec, self.model, self.box = spec, trainer.model, data.box
        self.total = trainer.total_steps
        order = torch.arange(data.train_examples, device=device)
        self.x, self.y = data.train_batch(order, 0)
        self.x_test, self.y_test = data.test_subset(10**9)
        self.epsilon = spec.method.epsilon
        optimizer = spec.optimizer
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), optimizer.lr_max, optimizer.momentum, weight_decay=optimizer.weight_decay
        )
        half = self.total / 2
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: 1 - abs((step + 0.5) - half) / half
        )
        self.counted = Counted(self.model)

    def step(self) -> None:
        """One FGSM step on a random batch."""
        index = torch.randint(len(self.x), (self.spec.optimizer.batch_size,))
        x, y = self.x[index], self.y[index]
        self.model.train()
        delta = torch.zeros_like(x, requires_grad=True)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(self.model(x + delta), y), delta)
        adversarial = clipped(x + self.epsilon * gradient.sign(), self.box)
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(adversarial), y).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()

    def steps(self) -> None:
        """Train."""
        for _ in range(TIMED_STEPS):
            self.step()

    def probe(self) -> tuple[float, float, float]:
        """Clean, FGSM and PGD accuracy on the first held-out images."""
        x, y = self.x_test[:PROBE_EXAMPLES], self.y_test[:PROBE_EXAMPLES]
        with evaluating(self.model):
            fgsm = self.attacked(x, y, self.epsilon, 1, random=False)
            pgd = self.attacked(x, y, self.epsilon / 4, PROBE_STEPS, random=True)
            return self.accuracy(x, y), self.accuracy(fgsm, y), self.accuracy(pgd, y)

    def evaluate(self) -> float:
        """Robust accuracy on all held-out images, each attacked to the end by each restart."""
        robust = torch.ones(len(self.y_test), dtype=torch.bool, device=self.y_test.device)
        with evaluating(self.model):
            for _ in range(RESTARTS):
                attacked = self.attacked(self.x_test, self.y_test, self.epsilon / 4, STEPS, random=True)
                with torch.no_grad():
                    robust &= self.model(attacked).argmax(1) == self.y_test
        return robust.float().mean().item()

    def attacked(self, x: Tensor, y: Tensor, alpha: float, steps: int, *, random: bool) -> Tensor:
        """The images after PGD."""
        start = (2 * torch.rand_like(x) - 1) * self.epsilon if random else torch.zeros_like(x)
        adversarial = clipped(x + start, self.box)
        for _ in range(steps):
            adversarial.requires_grad_()
            (gradient,) = torch.autograd.grad(functional.cross_entropy(self.model(adversarial), y), adversarial)
            moved = adversarial.detach() + alpha * gradient.sign()
            adversarial = clipped(torch.clamp(moved, x - self.epsilon, x + self.epsilon), self.box)
        return adversarial

    @torch.no_grad()
    def accuracy(self, x: Tensor, y: Tensor) -> float:
        """Share of the images that are labelled right."""
        return (self.model(x).argmax(1) == y).float().mean().item()


def clipped(x: Tensor, box: Box) -> Tensor:
    return x.clamp(box.low, box.high)


def compared(
    ours: Ours,
    plain: Plain,
    ours_task: Callable[[], object],
    plain_task: Callable[[], object],
    repeats: int,
    device: torch.device,
) -> str:
    """Cells of a part: passes and seconds, plain and in proportion to it."""
    seconds: list[tuple[float, float]] = []
    passes = (0, 0)
    for repeat in range(repeats + 1):
        ours.counted.passes = plain.counted.passes = 0
        pair = timed(ours_task, device), timed(plain_task, device)
        passes = ours.counted.passes, plain.counted.passes
        if repeat:  # the first warms up
            seconds.append(pair)
    ratio = statistics.median(a / b for a, b in seconds)
    return f"{passes[1]:,} | {passes[0] / passes[1]:.2f} | {statistics.median(b for _, b in seconds):.3g} | {ratio:.2f}"


def timed(task: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def plain_trial(spec: TrialSpec, device: torch.device) -> str:
    """Cells of a plain trial, which cannot say where it broke."""
    reset_peak(device)
    start = time.perf_counter()
    plain = Plain(spec, device)
    training = 0.0
    for step in range(1, plain.total + 1):
        training += timed(plain.step, device)
        if step % PROBE_EVERY == 0:
            plain.probe()
    robust = plain.evaluate()
    return cells(time.perf_counter() - start, training, robust, "", device)


def our_trial(spec: TrialSpec, device: torch.device) -> str:
    """Cells of a cosweep trial."""
    reset_peak(device)
    start = time.perf_counter()
    run = TrialRun(spec, device)
    for _ in run:
        pass
    found = str(run.verdict.co_step) if run.verdict.co else str(run.verdict.state)
    return cells(time.perf_counter() - start, run.timings.train_seconds, run.robust_acc, found, device)


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def cells(seconds: float, training: float, robust: float, found: str, device: torch.device) -> str:
    peak = f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB" if device.type == "cuda" else ""
    return f"{seconds:.1f} | {training / seconds:.0%} | {robust:.3f} | {found} | {peak}"


if __name__ == "__main__":
    main()
