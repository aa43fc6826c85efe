"""What a GPU tells in a few minutes: that trials run there, how fast, and which cells of the paper break.

    PYTHONPATH=. python benchmarks/gpu.py --data FOLDER --out rows.csv [--minutes 10]

FOLDER holds CIFAR-10 as Parquet files (with pyarrow) or as train/CLASS/*.png and test/CLASS/*.png. Needs torch 2.11,
numpy and Pillow; the tests need pytest as well. A row is written as soon as it is known, what tells most first:

1. the device, and the tests that need one;
2. FGSM steps of PreActResNet18 on 128 images of 3x32x32, by precision, memory format and compiler, beside the time that
   their products alone would take at the rate of a large matrix product in that precision;
3. CIFAR-10 cells of the paper, in TF32 if the device has it, as torch's convolutions have by default, in the memory
   format that was faster. A trial that breaks trains 400 steps more. One that time runs out for is kept beside the
   rows: the same command carries on with it, and leaves out the cells that have ended.

`--small` goes through all parts with a tiny network on digits, on a CPU too, and needs no data.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from cosweep.data import Dataset
from cosweep.data.batches import DeviceData
from cosweep.errors import CosweepError
from cosweep.training import TrialRun, TrialSpec
from cosweep.training.checkpoint import CheckpointError, resume_from, to_bytes
from cosweep.training.compute import ComputeSpec, Precision
from cosweep.training.loop import deterministic
from cosweep.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
COLUMNS = (
    *("part", "what", "device", "torch", "status", "precision", "channels_last", "compile", "ms_per_step"),
    *("images_per_second", "floor_ms", "peak_gb", "method", "epsilon", "beta", "trial_id", "state", "co_step", "step"),
    *("total_steps", "clean_acc", "fgsm_acc", "pgd_acc", "robust_acc", "seconds", "note"),
)
PAPER: dict[str, Any] = {
    "model": {"name": "preact_resnet18", "shortcut": "input"},
    "optimizer": {
        "lr_max": 0.2,
        "schedule": "triangular",
        "peak": 0.5,
        "momentum": 0.9,
        "momentum_min": 0.8,
        "weight_decay": 5e-4,
        "batch_size": 128,
        "epochs": 30,
    },
    "probe": {"examples": 512, "pgd_steps": 10},
    "final": {"steps": 50, "restarts": 1, "alpha": "2/255", "examples": 1000},
    "stop": {"co": {"after_steps": 400}},
}
"""Of search_spaces/paper/injected_strength.yaml, but for less probing and evaluation; a test compares them."""
BOX = ["-20/255", "275/255"]
CELLS = (
    *(("fgsm", 6, 8), ("fgsm", 6, 0), ("fgsm", 8, 8), ("fgsm", 8, 0), ("n_fgsm", 8, 8), ("fgsm", 6, 16)),
    *(("fgsm", 6, 4), ("fgsm", 8, 16), ("fgsm", 8, 4), ("n_fgsm", 8, 0), ("pgd", 8, 8), ("pgd", 8, 0)),
)
"""Method, epsilon and beta in grey levels. First whether a feature brings CO where plain training holds."""
SMALL: dict[str, Any] = {
    "model": {"name": "preact_resnet", "width": 4},
    "optimizer": {"batch_size": 64, "epochs": 1},
    "probe": {"examples": 32, "pgd_steps": 4},
    "final": {"steps": 2, "restarts": 1, "examples": 32},
}
_COMPILED_FIRST = ("bf16", True, True)
"""Compiling takes a minute for each; the others wait until the cells are done."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.small:
        raise SystemExit("torch sees no CUDA device; run this where it does, or go through it with --small")
    try:
        Bench(options, device).run()
    except CosweepError as error:
        raise SystemExit(str(error)) from error


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with CIFAR-10")
    parser.add_argument("--out", type=Path, required=True, help="CSV; rows are added to those that it has")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no new row is begun")
    parser.add_argument("--small", action="store_true", help="a tiny network on digits")
    options = parser.parse_args(arguments)
    if not (options.small or options.data):
        parser.error("--data is missing: a folder with CIFAR-10 (or --small, for digits)")
    return options


class Bench:
    """All parts on one device, until time is up."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        self.options, self.device = options, device
        self.deadline: float = time.monotonic() + 60 * options.minutes
        self.trial = raw_trial(options.data, small=options.small)
        self.dataset: Dataset = TrialSpec.from_dict(self.trial).data.load()
        self.milliseconds: dict[tuple[str, bool, bool], float] = {}
        self.common = {
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "torch": str(torch.__version__),
        }

    def is_over(self) -> bool:
        """Whether time is up."""
        return time.monotonic() > self.deadline

    def run(self) -> None:
        """Write all rows."""
        later = []
        tests = tests_of_the_device(small=self.options.small)
        self.write(part="device", what=self.common["device"], status="found", note=tests)
        for kind in product(("fp32", "tf32", "bf16"), (False, True), (False, True)):
            if kind[2] and kind != _COMPILED_FIRST:
                later.append(kind)
            else:
                self.step_row(*kind)
        for cell in CELLS[:2] if self.options.small else CELLS:
            self.cell_row(*cell)
        for kind in later:
            self.step_row(*kind)

    def write(self, **row: Any) -> None:
        """Add a row to the file, and show it."""
        path: Path = self.options.out
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow(self.common | row)
        print(", ".join(f"{name} {value}" for name, value in row.items() if value not in ("", None)), flush=True)

    def step_row(self, precision: str, channels_last: bool, compiled: bool) -> None:
        """Time the training steps of a way to compute."""
        if self.is_over():
            return
        kind = {"precision": precision, "channels_last": channels_last, "compile": compiled}
        row: dict[str, Any] = {"part": "step", "what": f"fgsm, {self.trial['model']['name']}", **kind}
        spec = TrialSpec.from_dict(self.trial | {"compute": kind})
        began = time.monotonic()
        try:
            with deterministic(tf32=precision == "tf32"):
                trainer = Trainer(spec, DeviceData(self.dataset, spec.data, [], 0, self.device), self.device)
                found = step_numbers(trainer, self.device, steps=2 if self.options.small else 30)
        except (CosweepError, RuntimeError) as error:  # a way that fails here is an answer, and the others go on
            self.write(**row, status="refused" if isinstance(error, CosweepError) else "failed", note=first_line(error))
            return
        self.milliseconds[precision, channels_last, compiled] = found["ms_per_step"]
        self.write(**row, status="timed", seconds=round(time.monotonic() - began, 1), **found)

    def cell_row(self, method: str, epsilon: int, beta: int) -> None:
        """Train a cell, or carry on with it, as far as time allows."""
        spec = cell_spec(self.trial, method, epsilon, beta, self.best_compute())
        if self.is_over() or spec.trial_id in ended(self.options.out):
            return
        run = TrialRun(spec, self.device, self.dataset)
        kept = self.options.out.with_suffix(f".{spec.trial_id}.checkpoint")
        images, note = self.dataset.fingerprint(), ""
        if kept.exists():
            try:
                resume_from(kept.read_bytes(), run, images)
            except CheckpointError as error:
                note = f"began anew: {error}"
        for _ in run:
            if self.is_over() and run.status is None:
                kept.write_bytes(to_bytes(run, images))
                break
        else:
            kept.unlink(missing_ok=True)
        probe = run.curve[-1]
        self.write(
            part="cell",
            what=f"{method}, epsilon {epsilon}/255, beta {beta}/255",
            status=str(run.status or "time ran out"),
            **spec.compute.to_dict(),
            method=method,
            epsilon=epsilon,
            beta=beta,
            trial_id=spec.trial_id,
            state=str(run.verdict.state),
            co_step=run.verdict.co_step,
            step=run.steps,
            total_steps=run.total_steps,
            clean_acc=probe.clean_acc,
            fgsm_acc=probe.fgsm_acc,
            pgd_acc=probe.pgd_acc,
            robust_acc=run.robust_acc if run.status else None,
            seconds=round(sum(vars(run.timings).values()), 1),
            note=run.error or note,
        )

    def best_compute(self) -> ComputeSpec:
        """TF32 if it was timed, else float32, in the faster memory format."""
        precision: Precision = "tf32" if any(kind[0] == "tf32" for kind in self.milliseconds) else "fp32"
        plain, channels_last = (self.milliseconds.get((precision, last, False), float("inf")) for last in (False, True))
        return ComputeSpec(precision=precision, channels_last=channels_last < plain)


def raw_trial(data: Path | None, *, small: bool) -> dict[str, Any]:
    """The trial that the cells change."""
    if small:
        return SMALL | {"data": {"source": "digits", "train_examples": 256}}
    source = "image_parquet" if data is not None and any(data.rglob("*.parquet")) else "image_folder"
    return PAPER | {"data": {"source": source, "root": str(data), "augment": "none", "box": BOX}}


def cell_spec(trial: dict[str, Any], method: str, epsilon: int, beta: int, compute: ComputeSpec) -> TrialSpec:
    """A cell; epsilon and beta in grey levels."""
    own = {"alpha": "2/255", "steps": 10} if method == "pgd" else {}
    changes = {
        "method": {"name": method, "epsilon": f"{epsilon}/255", **own},
        "interventions": [{"kind": "inject", "beta": f"{beta}/255", "carriers": "dct_sign"}],
    }
    return replace(TrialSpec.from_dict(trial | changes), compute=compute)


def tests_of_the_device(*, small: bool) -> str:
    """What the tests say that need a device."""
    files = [str(file) for file in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    if small or importlib.util.find_spec("pytest") is None or not files:
        return f"tests skipped: {'--small' if small else 'no pytest' if files else 'no folder of tests'}"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--continue-on-collection-errors", *files]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return "tests given up after five minutes"
    return (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1]


def step_numbers(trainer: Trainer, device: torch.device, steps: int) -> dict[str, Any]:
    """Milliseconds of a step (median), the floor that its products set, and the peak of memory."""
    batch, shape = trainer.spec.optimizer.batch_size, trainer.data.shape
    for _ in range(3):  # the first ones compile, and choose kernels
        trainer.advance()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = statistics.median(timed(trainer.advance, device) for _ in range(steps))
    peak = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trainer.spec.model.network(trainer.data.num_classes, shape)(torch.zeros(1, *shape))
    # Forward and back to the image, forward and back to image and weights: five times the products of a pass.
    floor = 5 * batch * counter.get_total_flops() / product_rate(device, trainer.spec.compute.precision)
    return {
        "ms_per_step": round(1e3 * seconds, 3),
        "images_per_second": round(batch / seconds),
        "floor_ms": round(1e3 * floor, 3),
        "peak_gb": None if peak is None else round(peak, 2),
    }


def product_rate(device: torch.device, precision: str) -> float:
    """Operations a second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 256
    matrix = torch.ones(side, side, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = min(timed(lambda: matrix @ matrix, device) for _ in range(5))
    return 2 * side**3 / seconds


def timed(task: Callable[[], object], device: torch.device) -> float:
    """Seconds that a task takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ended(path: Path) -> set[str]:
    """Ids of the cells that have ended in earlier runs."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["trial_id"] for row in csv.DictReader(file) if row["status"] in ("completed", "stopped")}


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    main()
