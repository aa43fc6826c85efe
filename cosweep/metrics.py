"""What a trial hands out: the core writes these, the results layer reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple


class TrialStatus(StrEnum):
    """How a trial ended. A stopped trial is a result, a failed one is not."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


class TrialState(StrEnum):
    """What a trial's curve shows."""

    HEALTHY = "healthy"
    CO = "co"
    RECOVERED = "recovered"
    DIVERGED = "diverged"
    NOT_ROBUST = "not_robust"


Ablation = Literal["injected", "clean", "carrier_only", "reversed", "permuted", "orthogonal"]
ABLATIONS: dict[Ablation, str] = {
    "injected": "held-out images as trained on",
    "clean": "original images, attacked within [0, 1]",
    "carrier_only": "the feature on images of zeros",
    "reversed": "the feature subtracted",
    "permuted": "the feature with the carrier of another class",
    "orthogonal": "no feature, its span taken out",
}
"""Versions of the held-out images that a trained model may be evaluated on."""


@dataclass(frozen=True)
class ProbeMetrics:
    """Cheap measurements of the model on a fixed held-out set; one row of ``curves``.

    Accuracies are fractions counted over examples. A value that was not measured is NaN.

    Attributes:
        step: Optimisation steps done.
        epoch: Epochs done, with fraction.
        lr: Learning rate of the last step.
        train_loss: Mean training loss per example since the last probe.
        train_acc: Accuracy on the training batches as the method perturbed them, since the last probe.
        train_abnormal: Share of the training examples whose loss the method's perturbation lowered, since the last
            probe; None if the method does not show it.
        train_gain: Accuracy on the training batches with the perturbation minus that where its gradient was taken,
            since the last probe; None likewise.
        clean_acc: Accuracy without perturbation.
        fgsm_acc: Accuracy under plain FGSM at the trial's epsilon.
        pgd_acc: Accuracy under PGD at the trial's epsilon.
        grad_cos: Mean cosine of the input gradients at x and at x + uniform noise.
        zero_grad_share: Share of examples at which the input gradient is exactly zero.
        diagnostics: Column to value of what else was measured.
    """

    step: int
    clean_acc: float
    fgsm_acc: float
    pgd_acc: float
    epoch: float = math.nan
    lr: float = math.nan
    train_loss: float = math.nan
    train_acc: float = math.nan
    train_abnormal: float | None = None
    train_gain: float | None = None
    grad_cos: float = math.nan
    zero_grad_share: float = math.nan
    diagnostics: Mapping[str, float | list[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Column name to value."""
        row = asdict(self)
        diagnostics: dict[str, Any] = row.pop("diagnostics")
        return row | diagnostics


class Measurement(NamedTuple):
    """A column of ``curves`` that a diagnostic fills.

    Attributes:
        name: Of the column.
        unit: Such as ``fraction`` or ``nats``.
        meaning: What it holds, in words.
        many: Whether a probe has several numbers there.
    """

    name: str
    unit: str
    meaning: str
    many: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A held-out image and its FGSM perturbation at one moment of the training; one row of ``snapshots``.

    Attributes:
        moment: ``before`` and ``after`` the breaking point, or ``end`` of a training that did not break.
        step: Optimisation steps done.
        example: Number of the image among the held-out ones.
        label: Its class.
        shape: (C, H, W).
        original: Pixels before intervention, in that order.
        intervened: Pixels as attacked.
        delta: The perturbation.
    """

    moment: str
    step: int
    example: int
    label: int
    shape: list[int]
    original: list[float]
    intervened: list[float]
    delta: list[float]
