"""What a model of the menu is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from cosweep.data.filters import high_pass_mask, low_pass_mask
from cosweep.errors import CosweepError, Fault
from cosweep.models.frequency_filter import FrequencyFilter
from cosweep.models.normalize import Normalize
from cosweep.specs import Component, number
from cosweep.wording import counted

_MOST_WEIGHTS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Model(Component):
    """Base of the models: describes a network and builds it.

    Attributes:
        draws: Whether the network draws random numbers as it trains, from torch's global generator.
        low_pass: Lowest DCT rows and columns that a fixed first layer keeps; null keeps all.
        low_pass_as_released: Cut rows only: the mask of the code of Ortiz-Jimenez et al. misses the columns of a batch.
        high_pass: Highest DCT rows and columns that a fixed first layer keeps; null keeps all.
    """

    draws: ClassVar[bool] = False

    low_pass: int | None = number(None, low=1)
    low_pass_as_released: bool = False
    high_pass: int | None = number(None, low=1)

    def faults(self) -> Iterator[Fault]:
        if self.low_pass is not None and self.high_pass is not None:
            yield Fault("high_pass", "low_pass is set as well; leave one of them out")
        if self.low_pass_as_released and self.low_pass is None:
            yield Fault("low_pass_as_released", "says how low_pass cuts, which is not set; set it, or leave this out")

    @abstractmethod
    def network(self, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """Network from normalised (N, C, H, W) images to (N, K) logits, freshly initialised."""

    def build(
        self, num_classes: int, shape: tuple[int, int, int], mean: Tensor, std: Tensor, seed: int
    ) -> nn.Sequential:
        """Network behind its filter and normalisation, on the CPU; same seed, same weights on every machine.

        Raises:
            CosweepError: If the model cannot take images of this shape.
        """
        first = self._filter(shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.network(num_classes, shape)
        return nn.Sequential(*first, Normalize(mean.cpu(), std.cpu()), network)

    def check(self, num_classes: int, shape: tuple[int, int, int], batch: int = 2) -> None:
        """Nothing, if a training batch of ``batch`` images passes through the network; none is computed or stored.

        Raises:
            CosweepError: If the network cannot take such images, or so few of them.
        """
        try:
            with torch.random.fork_rng(devices=[]), _WithoutWeights():
                network = nn.Sequential(*self._filter(shape), self.network(num_classes, shape))
            if (count := sum(weights.numel() for weights in network.parameters())) > _MOST_WEIGHTS:
                raise ValueError(f"it has {count:,} weights, and at most {_MOST_WEIGHTS:,} are allowed")
            network.to("meta")(torch.zeros(batch, *shape, device="meta"))
        except (RuntimeError, ValueError, AssertionError) as error:
            options = ", ".join(f"{name}: {value}" for name, value in self.to_dict().items() if value is not None)
            channels, height, width = shape
            raise CosweepError(
                f"{{{options}}} cannot train on a batch of {counted(batch, 'image')} of {height}x{width} with "
                f"{counted(channels, 'channel')}: {str(error).splitlines()[0]}; give another model, image size "
                "(data.size) or batch size"
            ) from error

    def check_draws_nothing(self, num_classes: int, shape: tuple[int, int, int]) -> None:
        """Nothing, if the network draws no random numbers as it trains.

        Raises:
            CosweepError: If it does, which several workers could not draw as one does.
        """
        if not self.draws:
            return
        model = self.build(num_classes, shape, torch.zeros(shape[0]), torch.ones(shape[0]), seed=0)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            before = torch.get_rng_state()
            model(torch.zeros(2, *shape))
            drawn = not torch.equal(before, torch.get_rng_state())
        if drawn:
            raise CosweepError(
                f"{self.name}'s network draws random numbers as it trains (dropout or its like), which several workers "
                "cannot draw as one does; set resources.workers to 1, or use a network without, such as a resnet"
            )

    def check_second_derivative(self, num_classes: int, shape: tuple[int, int, int]) -> None:
        """Nothing, if an input gradient of the network can be differentiated.

        Raises:
            CosweepError: If one of its operations has no second derivative.
        """
        model = self.build(num_classes, shape, torch.zeros(shape[0]), torch.ones(shape[0]), seed=0)
        x = torch.zeros(2, *shape, requires_grad=True)
        try:
            with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
                (gradient,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
            gradient.sum().backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise CosweepError(
                f"{self.name}'s network has no second derivative in the input, which the method or a diagnostic takes: "
                f"{str(error).splitlines()[0]}; use another model, or leave out grad_align and curvature"
            ) from error

    def _filter(self, shape: tuple[int, int, int]) -> list[nn.Module]:
        """The filter in front of the network, or nothing."""
        name, bandwidth = ("high_pass", self.high_pass) if self.low_pass is None else ("low_pass", self.low_pass)
        if bandwidth is None:
            return []
        _, height, width = shape
        if bandwidth > min(height, width):
            raise CosweepError(
                f"{name} must be at most {min(height, width)}, the smaller side of images of {height}x{width}; "
                f"got {bandwidth}"
            )
        if name == "high_pass":
            return [FrequencyFilter(high_pass_mask(bandwidth, height, width))]
        return [FrequencyFilter(low_pass_mask(bandwidth, height, width, as_released=self.low_pass_as_released))]


class _WithoutWeights(TorchFunctionMode):
    """Context in which ``torch.empty``, which torch's layers take their weights from, gives meta tensors.

    ``torch.device("meta")`` would also take away the numbers that some networks compute as they are built.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))
