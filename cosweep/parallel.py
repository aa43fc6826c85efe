"""Several workers that train one model together, each with its rows of every batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters


@dataclass(frozen=True)
class Workers:
    """One worker of a group; the rest are in the default process group of ``torch.distributed``.

    All workers make the same calls in the same order. A lone worker needs no process group, and nothing that it
    computes is touched.

    Attributes:
        rank: Number of this worker, from 0.
        count: Number of workers.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def of_process_group(cls) -> Workers:
        """This process among those of the default process group."""
        return cls(dist.get_rank(), dist.get_world_size())

    def rows(self, total: int) -> slice:
        """Which of so many rows are this worker's; none, if there are fewer than workers."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the workers, the same bits on each; differentiable any number of times.

        What is differentiated is the sum of all workers' outputs. So a value that every worker has whole, such as
        this one, has to be divided by ``count`` where it enters a loss.
        """
        if self.count == 1:
            return values
        total: Tensor = _Sum.apply(values)
        return total

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any worker has the flag, so that all decide alike what clocks decide."""
        return flag if self.count == 1 else bool(self.sum(torch.tensor(int(flag), device=device)))

    def gather(self, mine: Tensor, total: int) -> Tensor:
        """All ``total`` rows in their order, from each worker's own; differentiable like the sum."""
        if self.count == 1:
            return mine
        rows = self.rows(total)
        before, after = (mine.new_zeros(n, *mine.shape[1:]) for n in (rows.start, total - rows.stop))
        return self.sum(torch.cat([before, mine, after]))  # of zeros and one number each, so exact

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients of replicated weights by their sums over the workers."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = parameters_to_vector(gradients)  # one long message in place of many short ones
        dist.all_reduce(together)
        vector_to_parameters(together, gradients)


ALONE = Workers()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(*gradients)
        return total
