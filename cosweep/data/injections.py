"""Injections: interventions that add a pattern, the class's or, as a control, another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cosweep.data.carriers import CARRIERS
from cosweep.data.interventions import BoundIntervention, ImageSet, Intervention
from cosweep.errors import CosweepError, Fault
from cosweep.seeding import generator
from cosweep.specs import choice, number, pixel_fault, radius

Assign = Callable[[Tensor, Tensor], Tensor]
"""(N,) labels and numbers of examples to the (N,) numbers of the carriers they get."""
Weigh = Callable[[Tensor, Tensor], Tensor]
"""(N,) labels and numbers of examples to (N,) factors of their carriers."""


@dataclass(frozen=True, kw_only=True)
class Inject(Intervention):
    """Adds the class's carrier: x + beta * v(y).

    Attributes:
        beta: Strength, on the pixel scale; with carriers dct_l2, the Euclidean length of what is added.
        carriers: The patterns.
        carrier_seed: Of random carriers, and of the choices that a control makes; no part of the trial's seed.
    """

    name: ClassVar[str] = "inject"
    source: ClassVar[str] = "Ortiz-Jimenez et al., TMLR 2023, section 3"
    idle_at_zero: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = radius(8 / 255)
    carriers: str = choice("dct_sign", CARRIERS)
    carrier_seed: int = number(0, low=0)

    def faults(self) -> Iterator[Fault]:
        if self.carriers != "dct_l2" and (text := pixel_fault(self.beta)):
            yield Fault("beta", text)

    def bind(self, images: ImageSet) -> BoundIntervention:
        patterns = carriers_of(self.carriers, images.num_classes, images.shape, self.carrier_seed).to(images.device)
        assign, weight = self.assign(images), self.weight(images)

        def feature(y: Tensor, example: Tensor, permuted: bool) -> Tensor:
            own = assign(y, example)
            injected = patterns[another(own, example, len(patterns)) if permuted else own] * self.beta
            return injected if weight is None else injected * weight(y, example).view(-1, 1, 1, 1)

        return BoundIntervention(self.transform(patterns), feature, patterns, self.clamp)

    def transform(self, patterns: Tensor) -> Callable[[Tensor], Tensor] | None:
        """What is done to images before the carrier is added."""
        return None

    def assign(self, images: ImageSet) -> Assign:
        """Which carrier an example gets: its class's."""
        return lambda y, example: y

    def weight(self, images: ImageSet) -> Weigh | None:
        """By how much an example's carrier is multiplied; None is 1."""
        return None

    def _draws(self, purpose: str) -> torch.Generator:
        return generator(self.carrier_seed, purpose)


@dataclass(frozen=True, kw_only=True)
class InjectOrthogonal(Inject):
    """Removes the span of all carriers from x, then injects: the data cannot interfere with v(y).

    Attributes:
        as_released: Remove as many directions as the released code, all that a QR of the carriers gives: the span of
            rank five and five unrelated ones. Which five is rounding's choice. The released QR is in float32, where
            its images reached 12.8; this one is in double precision and reached 1.30, so it is of the same kind only.
    """

    name: ClassVar[str] = "inject_orthogonal"
    source: ClassVar[str] = "Ortiz-Jimenez et al., TMLR 2023, section 4"
    idle_at_zero: ClassVar[tuple[str, ...]] = ()

    as_released: bool = False

    def transform(self, patterns: Tensor) -> Callable[[Tensor], Tensor] | None:
        basis = released_basis(patterns) if self.as_released else span_basis(patterns)
        return lambda x: project_out(x, basis)


@dataclass(frozen=True, kw_only=True)
class Shuffled(Inject):
    """Control: adds the carrier of a random class, fixed for each example; v says nothing about the label."""

    name: ClassVar[str] = "shuffled"
    source: ClassVar[str] = "control: v independent of the label"

    def assign(self, images: ImageSet) -> Assign:
        drawn = torch.randint(images.num_classes, (images.examples,), generator=self._draws("shuffled"))
        drawn = drawn.to(images.device)
        return lambda y, example: drawn[example]


@dataclass(frozen=True, kw_only=True)
class Shared(Inject):
    """Control: adds the first class's carrier to all images; the same change without information."""

    name: ClassVar[str] = "shared"
    source: ClassVar[str] = "control: one v for all classes"

    def assign(self, images: ImageSet) -> Assign:
        return lambda y, example: torch.zeros_like(y)


@dataclass(frozen=True, kw_only=True)
class Grouped(Inject):
    """Control: classes fall at random into groups of equal size, each with one carrier; v tells the group only.

    Attributes:
        groups: 1 is ``shared``; as many as classes is ``inject`` with the carriers in another order.
    """

    name: ClassVar[str] = "grouped"
    source: ClassVar[str] = "control: v of a random group of classes"

    groups: int = number(2, low=1)

    def assign(self, images: ImageSet) -> Assign:
        if self.groups > images.num_classes:
            raise CosweepError(f"groups must be at most {images.num_classes}, the number of classes; got {self.groups}")
        order = torch.randperm(images.num_classes, generator=self._draws("grouped"))
        group = (order % self.groups).to(images.device)
        return lambda y, example: group[y]


@dataclass(frozen=True, kw_only=True)
class Partial(Inject):
    """Injects a share of the samples only, drawn once, or all samples of a share of the classes.

    Attributes:
        share: In [0, 1]; of classes, the nearest whole number of them is taken.
        share_of: ``samples`` or ``classes``.
    """

    name: ClassVar[str] = "partial"
    source: ClassVar[str] = "control: a feature in part of the data"
    idle_at_zero: ClassVar[tuple[str, ...]] = ("beta", "share")

    share: float = number(0.5, low=0.0, high=1.0)
    share_of: Literal["samples", "classes"] = "samples"

    def weight(self, images: ImageSet) -> Weigh:
        if self.share_of == "samples":
            drawn = torch.rand(images.examples, generator=self._draws("partial")) < self.share
        else:
            order = torch.randperm(images.num_classes, generator=self._draws("partial"))
            drawn = order < round(self.share * images.num_classes)
        taken = drawn.to(images.device, torch.float32)
        return lambda y, example: taken[example if self.share_of == "samples" else y]


@lru_cache(maxsize=4)
def carriers_of(name: str, num_classes: int, shape: tuple[int, int, int], seed: int) -> Tensor:
    """The carriers of that name; kept, since two hundred for large images take seconds and many trials share them."""
    return CARRIERS[name](num_classes, shape, seed)


def another(carrier: Tensor, example: Tensor, carriers: int) -> Tensor:
    """(N,) for each example the number of a carrier that is not its own, each of the others as likely."""
    count = int(example.max()) + 1 if len(example) else 0
    drawn = torch.randint(1, max(carriers, 2), (count,), generator=generator(0, "wrong class")).to(carrier.device)
    return (carrier + drawn[example]) % carriers


def span_basis(carriers: Tensor) -> Tensor:
    """Orthonormal basis (R, C*H*W) of the carriers' span; R is their rank.

    A singular value decomposition, since the paper's ten carriers have rank five: the QR of the
    released code removes five unrelated directions besides.
    """
    flat = carriers.flatten(1).to("cpu", torch.float64)
    _, values, rows = torch.linalg.svd(flat, full_matrices=False)
    rank = int((values > values[0] * 1e-9).sum())
    basis: Tensor = rows[:rank]
    return basis.to(carriers.device, carriers.dtype)


def released_basis(carriers: Tensor) -> Tensor:
    """(K, C*H*W) orthonormal directions, all columns of the QR of a matrix of lower rank, as the released code takes.

    Those beyond the rank follow from rounding alone: they are neither the released code's nor another machine's.
    """
    columns, _ = torch.linalg.qr(carriers.flatten(1).T.to("cpu", torch.float64))
    basis: Tensor = columns.T.contiguous()
    return basis.to(carriers.device, carriers.dtype)


def project_out(x: Tensor, basis: Tensor) -> Tensor:
    """Images (N, C, H, W) without their component in the span of an orthonormal basis (R, C*H*W)."""
    flat = x.flatten(1)
    return (flat - flat @ basis.T @ basis).view_as(x)
