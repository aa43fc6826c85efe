"""What a training method is: an objective, with the perturbation it trains on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from cosweep.attacks import Norm, ThreatModel, gradient_and_logits
from cosweep.errors import Fault
from cosweep.parallel import ALONE, Workers
from cosweep.seeding import RandomStream
from cosweep.specs import Component, number, pixel_fault, radius
from cosweep.units import Box

Memory = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """What a method trains on in one step; of several workers' batch, the rows of one.

    Attributes:
        x: (N, C, H, W) intervened images.
        y: (N,) labels.
        box: Range of valid pixels.
        rng: Random numbers of this step; all randomness comes from it.
        example: (N,) numbers of the training examples, from 0.
        memory: Tensors that the method keeps between steps, by name.
        done: Fraction of the training's steps that are done.
        workers: Those that have the rows of the global batch.
        size: Number of rows of all workers; None if these are all.
        shown: What passes have shown that the method makes anyway, by name.
    """

    x: Tensor
    y: Tensor
    box: Box
    rng: RandomStream
    example: Tensor
    memory: Memory = field(default_factory=dict)
    done: float = 0.0
    workers: Workers = ALONE
    size: int | None = None
    shown: dict[str, Tensor] = field(default_factory=dict)

    @property
    def start_logits(self) -> Tensor | None:
        """Logits (N, K) where the perturbation's gradient was taken; None if no single pass took it."""
        return self.shown.get("start_logits")

    def show_start(self, logits: Tensor) -> None:
        """Keep logits (N, K) where the perturbation's gradient is taken; of several such places those of the first."""
        self.shown.setdefault("start_logits", logits.detach())

    def gradient_at(self, model: nn.Module, start: Tensor) -> tuple[Tensor, Tensor]:
        """:func:`gradient_and_logits` at x + ``start``, where a single step begins; the logits are kept as well."""
        gradient, logits = gradient_and_logits(model, self.x + start, self.y)
        self.show_start(logits)
        return gradient, logits

    @property
    def total(self) -> int:
        """Number of rows of all workers."""
        return len(self.y) if self.size is None else self.size

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """This worker's share of the mean cross-entropy of the global batch: the shares add up to it."""
        return functional.cross_entropy(logits, self.y, reduction="sum") / self.total

    def mean(self, values: Tensor) -> Tensor:
        """Mean of (N,) values over the global batch, whole on every worker."""
        return self.workers.sum(values.sum()) / self.total

    def gather(self, mine: Tensor) -> Tensor:
        """Rows of the global batch, from those of each worker."""
        return self.workers.gather(mine, self.total)


@dataclass(frozen=True, kw_only=True)
class Method(Component):
    """Base of the methods.

    Attributes:
        epsilon: Radius of the threat model in ``norm``, on the pixel scale.
        norm: ``linf`` or ``l2``, of the method's perturbation, the probes and the final evaluation.
        warmup_epochs: Epochs over which epsilon, alpha and what follows from them grow from 0, linearly.
        attack_mode: Mode of batch-norm layers while the perturbation is made: ``train`` uses the batch's
            statistics and updates the running ones, as in the released code; ``eval`` uses the running ones.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("linf",)
    second_order: ClassVar[bool] = False
    """Whether it differentiates an input gradient, which some networks cannot."""

    shows_start: ClassVar[bool] = True
    """Whether a single pass takes the perturbation's gradient, so that training shows abnormal examples."""

    epsilon: float = radius(8 / 255)
    norm: Norm = "linf"
    warmup_epochs: float = number(0.0, low=0.0)
    attack_mode: Literal["train", "eval"] = "train"

    def faults(self) -> Iterator[Fault]:
        if self.norm not in self.norms:
            text = f"{self.name} is defined for {' and '.join(self.norms)}, not {self.norm}"
            yield Fault("norm", f"{text}; cosweep list methods shows the norms of each")
        if self.norm == "linf":
            values = {name: getattr(self, name, None) for name in ("epsilon", "alpha")}
            yield from (Fault(name, text) for name, value in values.items() if value and (text := pixel_fault(value)))

    def __post_init__(self) -> None:
        super().__post_init__()
        for f in fields(self):
            if "in_epsilons" in f.metadata:
                self.resolve_alpha(f.metadata["in_epsilons"])

    def resolve_alpha(self, epsilons: float) -> None:
        """Let an unset ``alpha`` be so many epsilons."""
        alpha = epsilons * self.epsilon
        self.resolve("alpha", min(1.0, alpha) if self.norm == "linf" else alpha)

    def threat(self, box: Box) -> ThreatModel:
        """The threat model that is trained against, for images of this box."""
        return ThreatModel(self.epsilon, box, self.norm)

    @property
    def bound(self) -> float:
        """Largest norm of what :meth:`perturb` can return, for images inside the box."""
        return self.epsilon

    @property
    def cost(self) -> tuple[float, float]:
        """Forward and backward passes per step, the training pass included; the mean where it varies."""
        return 2, 2

    @property
    def replays(self) -> int:
        """Steps in a row that train on the same batch."""
        return 1

    def fresh_memory(self, examples: int, shape: tuple[int, int, int], batch_size: int, device: torch.device) -> Memory:
        """What the method remembers before its first step.

        Args:
            examples: Number of training examples.
            shape: (C, H, W) of the images.
            batch_size: Of all batches but the last of an epoch, which may be smaller.
            device: Where the tensors are to be.
        """
        return {}

    @abstractmethod
    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        """Perturbation (N, C, H, W) to train on, detached, with x + delta in the box.

        Weights, their gradients and modes stay as they are; batch-norm layers act in the mode they are in.
        """

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """:meth:`perturb` with batch-norm layers in ``attack_mode``."""
        with batch_norm_in(self.attack_mode, model):
            return self.perturb(model, batch)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean training loss of a batch, and the logits (N, K) it was computed from.

        Of several workers, each returns a share of the loss, such that the shares add up to that of the global
        batch: what is whole on every worker is divided by their number.
        """
        logits = model(batch.x + self.attack(model, batch))
        return batch.cross_entropy(logits), logits

    def backward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Put the gradients of the loss into the weights; loss and logits, detached.

        Those of several workers are to be added up.
        """
        loss, logits = self.loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), logits.detach()

    def scaled(self, factor: float) -> Self:
        """The method at another size: epsilon and alpha times ``factor``."""
        sizes: dict[str, Any] = {
            name: factor * getattr(self, name) for name in ("epsilon", "alpha") if hasattr(self, name)
        }
        return replace(self, **sizes)

    def at_epoch(self, epoch: float) -> Self:
        """The method as it is so many epochs into training: scaled during the warm-up."""
        return self if epoch >= self.warmup_epochs else self.scaled(epoch / self.warmup_epochs)


@contextmanager
def batch_norm_in(mode: Literal["train", "eval"], model: nn.Module) -> Iterator[None]:
    """Context in which batch-norm layers that train are in ``mode``."""
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training] if mode == "eval" else []
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
