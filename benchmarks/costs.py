"""Cost of methods and diagnostics: stated passes beside measured seconds, all against FGSM training.

    python benchmarks/costs.py [--shape 1,8,8] [--width 8] [--repeats 7]

Prints two Markdown tables. The repeats are interleaved, and a ratio is the median over them, since a shared machine
drifts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from cosweep.data import Dataset
from cosweep.data.batches import DeviceData
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.methods import METHODS
from cosweep.training import TrialSpec
from cosweep.training.evaluation import Prober
from cosweep.training.trainer import Trainer

BETWEEN = 11
"""Training steps that diagnostics are compared with."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    print(f"{name}, torch {torch.__version__}, images {options.shape}, preact_resnet of width {options.width}\n")
    print("| method | passes F + B | passes / FGSM | seconds / FGSM |\n|---|---|---|---|")
    trainers = {method: trainer(options, method, device) for method in METHODS}
    steps = {method: timed_steps(made, options.steps, device) for method, made in trainers.items()}
    seconds = interleaved(steps, options.repeats)
    for method, made in trainers.items():
        forward, backward = made.spec.method.cost
        ratio = ratio_to(seconds[method], seconds["fgsm"])
        print(f"| `{method}` | {forward:g} + {backward:g} | {(forward + backward) / 4:.2g} | {ratio:.2f} |")
    fgsm = trainers["fgsm"]
    probe = fgsm.spec.probe
    x, y = fgsm.data.test_subset(probe.examples)
    prober = Prober(x, y, fgsm.spec.method.threat(fgsm.data.box), probe.pgd_steps, seed=0)
    measured: dict[str, Callable[[], object]] = {"training": timed_steps(fgsm, BETWEEN, device)}
    measured["the probe itself"] = lambda: prober.measure(fgsm.model)
    made = {name: diagnostic() for name, diagnostic in DIAGNOSTICS.items()}
    measured |= {name: lambda d=d: prober.diagnose(fgsm.model, [d]) for name, d in made.items()}  # type: ignore[misc]
    seconds = interleaved(measured, options.repeats)
    training_passes = 4 * BETWEEN * fgsm.spec.optimizer.batch_size
    print(f"\nTraining between two measurements: {BETWEEN} steps of {fgsm.spec.optimizer.batch_size} images by FGSM.\n")
    print("| diagnostic | examples | passes / training's | seconds / training's |\n|---|---|---|---|")
    print(f"| the probe itself | {len(y)} | | {ratio_to(seconds['the probe itself'], seconds['training']):.2f} |")
    for name, diagnostic in made.items():
        passes = diagnostic.passes(probe.pgd_steps) * diagnostic.examples / training_passes
        ratio = ratio_to(seconds[name], seconds["training"])
        print(f"| `{name}` | {diagnostic.examples} | {passes:.2f} | {ratio:.2f} |")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="1,8,8", help="C,H,W of the images")
    parser.add_argument("--width", type=int, default=8, help="of the preact_resnet")
    parser.add_argument("--steps", type=int, default=8, help="training steps a repeat")
    parser.add_argument("--repeats", type=int, default=7)
    return parser.parse_args()


def trainer(options: argparse.Namespace, method: str, device: torch.device) -> Trainer:
    """A training on random images; what they show does not change what a step costs."""
    shape = tuple(int(side) for side in options.shape.split(","))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1437 + 360, *shape), dtype=np.uint8)
    y = rng.integers(0, 10, len(x))
    spec = TrialSpec.from_dict(
        {"method": {"name": method, "epsilon": "16/255"}, "model": {"name": "preact_resnet", "width": options.width}}
    )
    dataset = Dataset(x[:1437], y[:1437], x[1437:], y[1437:], num_classes=10)
    return Trainer(spec, DeviceData(dataset, spec.data, [], 0, device), device)


def timed_steps(trainer: Trainer, count: int, device: torch.device) -> Callable[[], object]:
    def run() -> None:
        for _ in range(count):
            trainer.advance()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def interleaved(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each task in each repeat, after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(repeats + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio_to(these: list[float], those: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


if __name__ == "__main__":
    main()
