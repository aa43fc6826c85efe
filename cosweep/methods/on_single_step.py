"""Base of the methods that put a regulariser on top of a single step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from cosweep.methods.base import Batch, Method
from cosweep.methods.fgsm import FGSM
from cosweep.methods.n_fgsm import NFGSM
from cosweep.methods.rs_fgsm import RSFGSM
from cosweep.methods.single_step import SingleStep
from cosweep.specs import registry

_BASES: dict[str, type[SingleStep]] = registry(FGSM, RSFGSM, NFGSM)


@dataclass(frozen=True, kw_only=True)
class OnSingleStep(Method):
    """Base of the methods that put something on top of a single step.

    Attributes:
        base: Name of the method whose step it is, with that method's default sizes: ``fgsm``, ``rs_fgsm`` or
            ``n_fgsm``.
    """

    base: str

    @property
    def single_step(self) -> SingleStep:
        """The method whose step it is."""
        return _BASES[self.base](epsilon=self.epsilon)

    @property
    def bound(self) -> float:
        return self.single_step.bound

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.single_step.perturb(model, batch)
