"""One trial from start to end: training, probes, the detector, the replay, the final evaluation."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from cosweep.attacks import fgsm, measuring_gradient
from cosweep.data import Dataset
from cosweep.data.batches import DeviceData
from cosweep.detection import Chance, CurveReader, Verdict
from cosweep.errors import CosweepError
from cosweep.metrics import Ablation, ProbeMetrics, Snapshot, TrialState, TrialStatus
from cosweep.parallel import ALONE, Workers
from cosweep.seeding import derive_seed
from cosweep.training.evaluation import FinalAccuracies, Prober, evaluating, final_accuracies
from cosweep.training.examples import Examples
from cosweep.training.probe_schedule import ProbeSchedule, Watch
from cosweep.training.replay import Replay, measured
from cosweep.training.trainer import Trainer
from cosweep.training.trial_spec import TrialSpec
from cosweep.units import Box

_deterministic: Any = torch.utils.deterministic  # a module whose settings have no types


@dataclass
class Timings:
    """Seconds spent on each part of a trial."""

    train_seconds: float = 0.0
    probe_seconds: float = 0.0
    diagnostic_seconds: float = 0.0
    eval_seconds: float = 0.0

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Context whose duration is added to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, part, getattr(self, part) + time.perf_counter() - start)


class TrialRun:
    """A trial in progress: iterate over it for its probes; what it found is in the attributes.

    Attributes:
        verdict: The detector's verdict on the probes so far.
        status: How it ended; None while it runs.
        error: Why it ended early, if not by its own rules.
        robust_acc: Accuracy under the final evaluation; NaN until then.
        final: By ablation, what the final evaluation found.
        snapshots: Perturbations that were kept, in order of their steps.
        timings: Seconds by part.
        steps: Optimisation steps done; a replay's steps are not counted.
        total_steps: Steps of a trial that is not stopped.
        steps_per_epoch: Batches in an epoch.
        box: Range of pixels that the attacks kept to; None before it is known.
        examples: How many images it was given; None before they are loaded.
        curve: The probes so far.
    """

    def __init__(
        self, spec: TrialSpec, device: torch.device, dataset: Dataset | None = None, workers: Workers = ALONE
    ) -> None:
        self.spec, self.device, self.workers = spec, device, workers
        if not isinstance(dataset, Dataset | None):
            raise CosweepError(f"dataset is a {type(dataset).__name__}; expected a cosweep.data.Dataset, or None")
        self._dataset = dataset
        self.verdict = Verdict(TrialState.NOT_ROBUST)
        self.status: TrialStatus | None = None
        self.error = ""
        self.robust_acc = math.nan
        self.final: dict[Ablation, FinalAccuracies] = {}
        self.snapshots: list[Snapshot] = []
        self.timings = Timings()
        self.steps = 0
        self.total_steps = 0
        self.steps_per_epoch = 0
        self.box: Box | None = None
        self.examples: Examples | None = None
        self.curve: list[ProbeMetrics] = []
        self._resumed: dict[str, Any] | None = None
        self._replay: Replay | None = None
        self._watch: Watch | None = None

    @property
    def device_name(self) -> str:
        """Name of the device, for the trial's row."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    @staticmethod
    def data_hash(dataset: Dataset) -> str:
        """Fingerprint of the images, for the trial's row: a sweep does not carry on from trials of other images."""
        return dataset.fingerprint()

    def state(self) -> dict[str, Any]:
        """All that another process needs to carry on from the last probe, as tensors and plain values.

        Raises:
            RuntimeError: Before the first probe, and after the last.
        """
        if self._replay is None or self._watch is None or self.status is not None:
            raise RuntimeError("only a training that goes on has a state to be carried on from")
        return self._replay.state() | {
            "watch": (self._watch.step, self._watch.calm),
            "curve": [asdict(probe) for probe in self.curve],
            "verdict": asdict(self.verdict) | {"state": str(self.verdict.state)},
            "snapshots": [asdict(snapshot) for snapshot in self.snapshots],
            "timings": vars(self.timings),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Carry on from a :meth:`state` of the same spec, with tensors on this run's device, when iterated over.

        Its probes are in ``curve`` and are not handed out again.
        """
        self._resumed = state
        self.curve = [ProbeMetrics(**probe) for probe in state["curve"]]
        self.snapshots = [Snapshot(**snapshot) for snapshot in state["snapshots"]]
        self.timings = Timings(**state["timings"])
        self.verdict = Verdict(**state["verdict"] | {"state": TrialState(state["verdict"]["state"])})
        self.steps = state["trainer"]["step"]

    def __iter__(self) -> Iterator[ProbeMetrics]:
        if self.status is not None:
            raise RuntimeError("this trial has run; make another one to run it again")
        probes = self._run()
        while True:
            with deterministic(
                tf32=self.spec.compute.precision == "tf32"
            ):  # around the work alone, so that the caller keeps its own settings
                probe = next(probes, None)
            if probe is None:
                return
            yield probe

    def _run(self) -> Iterator[ProbeMetrics]:
        spec = self.spec
        dataset = spec.data.load() if self._dataset is None else self._dataset
        self.examples = Examples.of(spec, dataset)
        data = DeviceData(dataset, spec.data, spec.interventions, spec.seed, self.device)
        self.box = data.box
        trainer = Trainer(spec, data, self.device, self.workers)
        prober = _prober(spec, data, self.workers)
        reader = CurveReader(spec.stop.co.detector, Chance.of_labels(prober.y.cpu().tolist()))
        self.total_steps, self.steps_per_epoch = trainer.total_steps, trainer.steps_per_epoch
        replay = self._replay = Replay(trainer, prober, reader)
        watch = self._watch = Watch(prober)
        if self._resumed is not None:
            replay.resume(self._resumed, self.curve)
            watch.step, watch.calm = self._resumed["watch"]
        schedule = ProbeSchedule.of(spec, trainer.total_steps, len(dataset.y_test))
        while self.status is None:
            self._train_to_probe(schedule, replay, watch)
            with self.timings.measure("train_seconds"):
                train = trainer.take_train_metrics()
                watch.settle(trainer.step, trainer.abnormal_share())
            self.steps = trainer.step
            with self.timings.measure("probe_seconds"):
                probe = measured(trainer, prober, train)
                broken_before = self.verdict.co
                self._judge(probe, reader, replay, last=trainer.step == trainer.total_steps)
            self._decide(probe)
            with self.timings.measure("diagnostic_seconds"):
                number = len(self.curve) + 1
                if spec.probe.diagnostics and (number % spec.probe.diagnostic_every == 0 or self.status is not None):
                    probe = replace(probe, diagnostics=prober.diagnose(trainer.model, spec.probe.diagnostics))
                if self.verdict.co and not broken_before:
                    with trainer.at(replay.healthy):
                        self._keep_snapshots("before", data, trainer)
            self.curve.append(probe)
            yield probe
        with self.timings.measure("diagnostic_seconds"):
            self._keep_snapshots("after" if self.verdict.co else "end", data, trainer)
        with self.timings.measure("eval_seconds"):
            self.final = {ablation: _final(spec, data, trainer, ablation) for ablation in spec.final.on}
            self.robust_acc = self.final["injected"].robust_acc

    def _train_to_probe(self, schedule: ProbeSchedule, replay: Replay, watch: Watch) -> None:
        """Train to the step that is to be probed next."""
        trainer, reader = replay.trainer, replay.reader
        due = schedule.due(trainer.step, unsettled=reader.unsettled, stop_at=self._stop_at)
        watched = schedule.trigger and not (reader.suspect or reader.verdict.co)
        while trainer.step < due:
            with self.timings.measure("train_seconds"):
                reading = schedule.reading(trainer.step, due)
                while trainer.step < reading:
                    trainer.advance()
                if trainer.step == due:
                    return
                replay.mark()
                share = trainer.abnormal_share() if watched else None
            if share is not None and watch.stirs(trainer.step, share):
                with self.timings.measure("probe_seconds"):
                    if reader.collapsed(measured(trainer, watch.looker)):
                        return
                    watch.settle(trainer.step, share)

    def _keep_snapshots(self, moment: str, data: DeviceData, trainer: Trainer) -> None:
        """Keep what FGSM makes of the first held-out images at the trainer's weights."""
        count, method = self.spec.probe.snapshots, self.spec.method
        if not count:
            return
        x, y = data.test_subset(count)
        index = data.test_index(count)
        with evaluating(trainer.model):
            deltas = fgsm(trainer.model, x, y, method.threat(data.box), measuring_gradient)
        for original, intervened, delta, number, label in zip(data.x_test[index], x, deltas, index, y, strict=True):
            pixels = [image.flatten().cpu().tolist() for image in (original, intervened, delta)]
            self.snapshots.append(Snapshot(moment, trainer.step, int(number), int(label), list(data.shape), *pixels))

    def _judge(self, probe: ProbeMetrics, reader: CurveReader, replay: Replay, *, last: bool) -> None:
        found = reader.update(probe)
        if not math.isfinite(probe.train_loss):
            found = replace(found, state=TrialState.DIVERGED)
        if self.verdict.co:  # the breaking point stays as the replay found it
            self.verdict = replace(self.verdict, state=found.state)
        elif found.co:
            self.verdict = replay.refine(found)
        else:
            replay.remember()
            self.verdict = replay.settle(found) if last and reader.suspect else found

    @property
    def _stop_at(self) -> int | None:
        """Step from which a broken training is stopped."""
        after = self.spec.stop.co.after_steps
        return None if self.verdict.co_step is None or isinstance(after, str) else self.verdict.co_step + after

    def _decide(self, probe: ProbeMetrics) -> None:
        if not math.isfinite(probe.train_loss):
            self.status = TrialStatus.STOPPED
            self.error = f"training loss is {probe.train_loss} by step {probe.step}; lower optimizer.lr_max"
        elif self.steps >= self.total_steps:
            self.status = TrialStatus.COMPLETED
        elif self._stop_at is not None and self.steps >= self._stop_at:
            self.status = TrialStatus.STOPPED


def run_trial(
    spec: TrialSpec,
    device: str | torch.device = "cpu",
    dataset: Dataset | None = None,
    workers: Workers = ALONE,
) -> TrialRun:
    """A trial to iterate over: each item is a probe; the outcome is on the returned object.

    Args:
        spec: What to train.
        device: Where; the whole data set is kept there.
        dataset: The images of ``spec.data`` if they are loaded already.
        workers: This process and the others that run the same trial together; each gets all probes and the outcome.

    Raises:
        CosweepError: If ``dataset`` is none; while iterating, if the data cannot be loaded or carry the interventions.
    """
    return TrialRun(spec, torch.device(device), dataset, workers)


@contextmanager
def deterministic(*, tf32: bool = False) -> Iterator[None]:
    """Context in which torch picks deterministic kernels, and float32 or TF32 products; settings come back after."""
    # cuBLAS reads this when it starts, and is deterministic only with it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    fill = _deterministic.fill_uninitialized_memory
    algorithms = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(True)
    _deterministic.fill_uninitialized_memory = False  # costs time, guards nothing here
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32  # on, unless it is told
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms)
        _deterministic.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def _prober(spec: TrialSpec, data: DeviceData, workers: Workers) -> Prober:
    x, y = data.test_subset(spec.probe.examples)
    seed = derive_seed(spec.seed, "probe")
    probe = spec.probe
    return Prober(x, y, spec.method.threat(data.box), probe.pgd_steps, seed, probe.grad_cos, workers)


def _final(spec: TrialSpec, data: DeviceData, trainer: Trainer, ablation: Ablation) -> FinalAccuracies:
    x, y = data.test_subset(spec.final.examples, ablation)
    # Natural images are attacked as the literature does, whatever the intervened ones reach.
    box = Box(0.0, 1.0) if ablation == "clean" else data.box
    return final_accuracies(
        trainer.model,
        x,
        y,
        spec.method.threat(box),
        final=spec.final,
        num_classes=data.num_classes,
        seed=derive_seed(spec.seed, "final"),
        workers=trainer.workers,
    )
