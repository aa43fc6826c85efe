"""What is wrong with a trial that only its data can tell, found before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from cosweep.data import Dataset, ImageSet
from cosweep.detection import DETECTORS
from cosweep.errors import CosweepError, Fault
from cosweep.training.trial_spec import TrialSpec


class Checker:
    """Checks trials against their images; a part that many trials share is checked once."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], str] = {}

    def faults(self, spec: TrialSpec, dataset: Dataset) -> Iterator[Fault]:
        """Faults of a trial whose images are ``dataset``, with their paths in the trial."""
        images = ImageSet(dataset.num_classes, dataset.shape, _examples(dataset), torch.device("cpu"))
        for index, intervention in enumerate(spec.interventions):
            text = self._once((intervention, spec.data.load_key), partial(intervention.bind, images))
            if text:
                yield Fault(f"interventions.{index}", text)
        smallest = len(dataset.y_train) % spec.optimizer.batch_size or spec.optimizer.batch_size
        check = partial(spec.model.check, images.num_classes, images.shape, smallest)
        text = self._once((spec.model, spec.data.load_key, smallest), check)
        if text:
            yield Fault("model", text)
        yield from probe_faults(spec, len(dataset.y_train))

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
    steps = -(-train_examples // spec.optimizer.batch_size) * spec.optimizer.epochs
    needed = DETECTORS[spec.stop.co.detector].confirm
    probes = -(-steps // spec.probe.every)
    if probes < needed:
        yield Fault(
            "probe.every",
            f"{spec.probe.every} leaves {probes} probe{'s' if probes != 1 else ''} in {steps} steps; detector "
            f"{spec.stop.co.detector} needs {needed}: probe every {max(1, steps // needed)} or train longer",
        )


def _examples(dataset: Dataset) -> int:
    return len(dataset.y_train) + len(dataset.y_test)
