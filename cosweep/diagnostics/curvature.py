"""Curvature of the loss in the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from cosweep.diagnostics.base import Diagnostic, Measured, View
from cosweep.metrics import Measurement
from cosweep.seeding import RandomStream
from cosweep.specs import number

_RELUS = (functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_SMALLEST = 1e-300  # of float64; the curvature of a confident model is tiny


@dataclass(frozen=True, kw_only=True)
class Curvature(Diagnostic):
    """Mean over the examples of the largest eigenvalue of the Hessian of the cross-entropy in the input.

    Of a ReLU network this is J^T (diag p - p p^T) J, with the logits' slopes J and the probabilities p: it sees how
    steep the logits are, and none of the kinks between their flat pieces. A difference of gradients, as the released
    code takes, sees the kinks within its step and grows without limit as the step shrinks, so that the two have no
    common value. ``softplus`` rounds the kinks; then both agree at steps well below its width.

    By Lanczos from a random vector, each example on its own. A network of ReLUs has a Hessian of rank K - 1
    at most, so that K iterations are exact; of others the value is from below. NaN if the network gives numbers that
    are not finite.

    Attributes:
        iterations: Hessian-vector products an example.
        softplus: Measure with log(1 + exp(s t)) / s in place of each ReLU of t, for this s; null measures the network
            itself.
    """

    name: ClassVar[str] = "curvature"
    source: ClassVar[str] = "Ortiz-Jimenez et al., TMLR 2023, section 5"
    columns: ClassVar[tuple[Measurement, ...]] = (
        Measurement("curvature", "nats / pixel scale^2", "mean largest eigenvalue of the loss's Hessian in the input"),
    )

    second_order: ClassVar[bool] = True

    iterations: int = number(10, low=1, high=1000)
    softplus: float | None = number(None, above=0.0)

    def passes(self, pgd_steps: int) -> float:
        return 2 + 2 * self.iterations

    def measure(self, view: View) -> Measured:
        x = view.x.detach().requires_grad_()
        smooth = nullcontext() if self.softplus is None else _Softplus(self.softplus)
        # Other kernels of attention have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), smooth:
            loss = functional.cross_entropy(view.model(x), view.y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x, create_graph=True)

        def product(vectors: Tensor) -> Tensor:
            (out,) = torch.autograd.grad(gradient, x, vectors, retain_graph=True, materialize_grads=True)
            return out

        if not gradient.requires_grad:  # a loss that is linear in x
            return {"curvature": 0.0}
        start = RandomStream(view.seed, "curvature").normal(x.shape, x)
        return {"curvature": largest_eigenvalues(product, start, self.iterations).mean().item()}


class _Softplus(TorchFunctionMode):
    """Context in which every ReLU of a network is a softplus of a sharpness."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _RELUS:
            return functional.softplus(args[0], beta=self.sharpness)
        return func(*args, **(kwargs or {}))


def largest_eigenvalues(product: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Tensor:
    """(N,) float64 largest eigenvalue of each of N symmetric matrices, from below, by the Lanczos method.

    NaN for a matrix with products that are not finite.

    Args:
        product: Maps (N, ...) vectors to (N, ...) products with the matrices.
        start: (N, ...) vectors to start from.
        iterations: Products; as many as the rank, and one more, are exact.
    """
    examples, size = len(start), start[0].numel()
    vector = start.flatten(1).double()
    vector = vector / vector.norm(dim=1, keepdim=True)
    basis: list[Tensor] = []
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for _ in range(min(iterations, size)):
        basis.append(vector)
        image = product(vector.to(start.dtype).view_as(start)).flatten(1).double()
        diagonal.append((vector * image).sum(dim=1))
        known = torch.stack(basis, dim=1)
        for _ in range(2):  # once is not enough in finite precision
            image = image - torch.einsum("nkd,nk->nd", known, torch.einsum("nkd,nd->nk", known, image))
        length = image.norm(dim=1)
        # float32 products leave a rest where none should be; a direction of that size is noise.
        goes_on = length > 1e-6 * torch.stack(diagonal).abs().amax(dim=0).clamp_min(_SMALLEST)
        beside.append(length * goes_on)
        vector = image / length.clamp_min(_SMALLEST)[:, None] * goes_on[:, None]
    matrix = torch.zeros(examples, len(basis), len(basis), dtype=torch.float64, device=start.device)
    # An example whose space is used up gets its first entry, which is below the eigenvalue sought, from then on.
    used_up = torch.stack([torch.zeros_like(beside[0]).bool()] + [b == 0 for b in beside[:-1]]).cumsum(dim=0) > 0
    for k, entry in enumerate(diagonal):
        matrix[:, k, k] = torch.where(used_up[k], diagonal[0], entry)
    for k, entry in enumerate(beside[:-1]):
        matrix[:, k, k + 1] = matrix[:, k + 1, k] = entry
    finite = matrix.isfinite().all(dim=2).all(dim=1)  # of others torch takes no eigenvalues
    eigenvalues: Tensor = torch.linalg.eigvalsh(matrix.where(finite[:, None, None], 0.0))
    return eigenvalues[:, -1].where(finite, math.nan)
