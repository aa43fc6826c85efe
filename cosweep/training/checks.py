"""What is wrong with a trial that only its data can tell, found before it starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch

from cosweep.attacks.autoattack import check_images, check_installed
from cosweep.data import Dataset, ImageSet
from cosweep.errors import CosweepError, Fault
from cosweep.training.compute import compute_faults
from cosweep.training.probe_schedule import ProbeSchedule
from cosweep.training.trial_spec import TrialSpec
from cosweep.wording import counted


class Checker:
    """Checks trials, each to be run by so many workers on a kind of device, against it and their images.

    A part that trials share is checked once.
    """

    def __init__(self, workers: int = 1, device: str = "cpu") -> None:
        self._workers, self._device = workers, torch.device(device)
        self._found: dict[tuple[object, ...], str] = {}

    def faults(self, spec: TrialSpec, dataset: Dataset) -> Iterator[Fault]:
        """Faults of a trial whose images are ``dataset``, with their paths in the trial."""
        images = ImageSet(dataset.num_classes, dataset.shape, _examples(dataset), torch.device("cpu"))
        for index, intervention in enumerate(spec.interventions):
            text = self._once((intervention, spec.data.load_key), partial(intervention.bind, images))
            if text:
                yield Fault(f"interventions.{index}", text)
        last = len(dataset.y_train) % spec.optimizer.batch_size or spec.optimizer.batch_size
        check = partial(spec.model.check, images.num_classes, images.shape, last)
        # Batch-norm layers may refuse a single image; from two on the number makes no difference.
        text = self._once((spec.model, spec.data.load_key, last == 1), check)
        if text:
            yield Fault("model", text)
        elif spec.method.second_order or any(diagnostic.second_order for diagnostic in spec.probe.diagnostics):
            differentiate = partial(spec.model.check_second_derivative, images.num_classes, images.shape)
            if text := self._once((spec.model, spec.data.load_key, "second"), differentiate):
                yield Fault("model", text)
        if self._workers > 1 and not text:
            check_draws = partial(spec.model.check_draws_nothing, images.num_classes, images.shape)
            if text := self._once((spec.model, spec.data.load_key, "draws"), check_draws):
                yield Fault("model", text)
        if spec.final.attack == "autoattack":
            norm = spec.method.norm
            fits = partial(check_images, norm, images.shape)
            text = self._once(("autoattack",), check_installed) or self._once(("autoattack", norm, images.shape), fits)
            if text:
                yield Fault("final.attack", text)
        yield from compute_faults(spec.compute, self._device, self._workers)
        yield from probe_faults(spec, len(dataset.y_train))
        yield from diagnostic_faults(spec, len(dataset.y_train), len(dataset.y_test))

    def _once(self, key: tuple[object, ...], check: Callable[[], object]) -> str:
        """Message of the check, or an empty text."""
        if key not in self._found:
            self._found[key] = ""
            try:
                check()
            except CosweepError as error:
                self._found[key] = str(error)
        return self._found[key]


def probe_faults(spec: TrialSpec, train_examples: int) -> Iterator[Fault]:
    """A detector that gets too few probes could only ever call a trial healthy."""
    steps = _steps(spec, train_examples)
    detector = spec.stop.co.detector
    needed = detector.confirm
    probes = -(-steps // (spec.probe.every or 1))
    if steps < needed:
        text = f"leave {counted(steps, 'step')}; detector {detector.name} needs {needed} probes: train longer"
        yield Fault("optimizer.epochs", text)
    elif probes < needed:
        yield Fault(
            "probe.every",
            f"{spec.probe.every} leaves {counted(probes, 'probe')} in {counted(steps, 'step')}; detector "
            f"{detector.name} needs {needed}: probe every {steps // needed} or train longer",
        )


def diagnostic_faults(spec: TrialSpec, train_examples: int, test_examples: int) -> Iterator[Fault]:
    """Diagnostics that would take longer than the training that they are to show."""
    probe = spec.probe
    every = ProbeSchedule.of(spec, _steps(spec, train_examples), test_examples).every
    held_out = min(probe.examples, test_examples)
    costs = {d.name: d.passes(probe.pgd_steps) * min(d.examples, held_out) for d in probe.diagnostics}
    training = sum(spec.method.cost) * spec.optimizer.batch_size * every
    ratio = sum(costs.values()) / (training * probe.diagnostic_every)
    if ratio > probe.diagnostic_limit:
        dearest = max(costs, key=lambda name: costs[name])
        enough = -(-sum(costs.values()) // (training * probe.diagnostic_limit))
        yield Fault(
            "probe.diagnostics",
            f"cost {ratio:.3g} times the training between two measurements, by passes through the network (most: "
            f"{dearest}), and may cost {probe.diagnostic_limit:g}; set probe.diagnostic_every to {enough:.0f}, "
            f"give them fewer examples, or set probe.diagnostic_limit to {_rounded_up(ratio):g}",
        )


def _steps(spec: TrialSpec, train_examples: int) -> int:
    return -(-train_examples // spec.optimizer.batch_size) * spec.optimizer.epochs


def _rounded_up(value: float) -> float:
    """The next number of three digits that is not below a positive value."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return math.ceil(value / unit) * unit


def _examples(dataset: Dataset) -> int:
    return len(dataset.y_train) + len(dataset.y_test)
