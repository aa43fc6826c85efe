"""How many images a trial is really given, whatever its spec asks for."""

from __future__ import annotations

from dataclasses import dataclass

from cosweep.data import Dataset
from cosweep.training.trial_spec import TrialSpec


@dataclass(frozen=True)
class Examples:
    """Columns of ``trials`` on a trial's images.

    Attributes:
        train_images, test_images: How many there are to train on, and held out.
        num_classes: K.
        image_shape: Channels x height x width, such as ``3x32x32``.
        probe_examples_used, final_examples_used: Held-out images that probes and the final evaluation measure on:
            as many as the spec asks for, or all if there are fewer.
    """

    train_images: int
    test_images: int
    num_classes: int
    image_shape: str
    probe_examples_used: int
    final_examples_used: int

    @classmethod
    def of(cls, spec: TrialSpec, dataset: Dataset) -> Examples:
        """Count the images that a trial uses of ``dataset``."""
        held_out = len(dataset.y_test)
        return cls(
            len(dataset.y_train),
            held_out,
            dataset.num_classes,
            "x".join(map(str, dataset.shape)),
            min(spec.probe.examples, held_out),
            min(spec.final.examples, held_out),
        )
