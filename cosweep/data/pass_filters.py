"""Pass filters: interventions that remove part of the DCT spectrum of the images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cosweep.data.filters import apply_mask, band_stop_mask, high_pass_mask, low_pass_mask
from cosweep.data.interventions import BoundIntervention, ImageSet, Intervention
from cosweep.errors import CosweepError, Fault
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class PassFilter(Intervention):
    """Base of the pass filters; each keeps part of the DCT coefficients of every channel."""

    def bind(self, images: ImageSet) -> BoundIntervention:
        _, height, width = images.shape
        mask = self.mask(height, width).to(images.device)
        return BoundIntervention(lambda x: apply_mask(x, mask), clamp=self.clamp)

    @abstractmethod
    def mask(self, height: int, width: int) -> Tensor:
        """(H, W), 1 on the coefficients that are kept and 0 on the others."""

    def _fit(self, name: str, value: int, height: int, width: int) -> int:
        if value > min(height, width):
            raise CosweepError(
                f"{name} must be at most {min(height, width)}, the smaller side of images of {height}x{width}; "
                f"got {value}"
            )
        return value


@dataclass(frozen=True, kw_only=True)
class LowPass(PassFilter):
    """Keeps the ``bandwidth`` lowest rows and columns of DCT coefficients.

    Attributes:
        as_released: Cut rows only: the released code's mask misses the columns of a batch.
    """

    name: ClassVar[str] = "low_pass"
    source: ClassVar[str] = "Ortiz-Jimenez et al., TMLR 2023, section 5"

    bandwidth: int = number(16, low=1)
    as_released: bool = False

    def mask(self, height: int, width: int) -> Tensor:
        bandwidth = self._fit("bandwidth", self.bandwidth, height, width)
        return low_pass_mask(bandwidth, height, width, as_released=self.as_released)


@dataclass(frozen=True, kw_only=True)
class HighPass(PassFilter):
    """Keeps the ``bandwidth`` highest rows and columns: what a low pass of the image's side less so many removes."""

    name: ClassVar[str] = "high_pass"
    source: ClassVar[str] = "complement of low_pass"

    bandwidth: int = number(16, low=1)

    def mask(self, height: int, width: int) -> Tensor:
        return high_pass_mask(self._fit("bandwidth", self.bandwidth, height, width), height, width)


@dataclass(frozen=True, kw_only=True)
class BandStop(PassFilter):
    """Removes the coefficients that a low pass of ``band_high`` keeps and one of ``band_low`` does not."""

    name: ClassVar[str] = "band_stop"
    source: ClassVar[str] = "low_pass and high_pass together"

    band_low: int = number(4, low=0)
    band_high: int = number(8, low=1)

    def faults(self) -> Iterator[Fault]:
        if self.band_low >= self.band_high:
            yield Fault("band_low", f"must be below band_high, {self.band_high}; got {self.band_low}")

    def mask(self, height: int, width: int) -> Tensor:
        return band_stop_mask(self.band_low, self._fit("band_high", self.band_high, height, width), height, width)
