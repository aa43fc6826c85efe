"""What the training attack's perturbation looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from cosweep.data.dct import dct2
from cosweep.diagnostics.base import Diagnostic, Measured, View
from cosweep.metrics import Measurement


@dataclass(frozen=True, kw_only=True)
class DeltaCosine(Diagnostic):
    """Mean cosine of the perturbations by FGSM and by PGD; falls to zero with CO."""

    name: ClassVar[str] = "delta_cos"
    source: ClassVar[str] = "Andriushchenko and Flammarion, NeurIPS 2020, figure 3"
    columns: ClassVar[tuple[Measurement, ...]] = (
        Measurement("delta_cos", "cosine [-1, 1]", "mean cosine of the perturbations by FGSM and by PGD"),
    )

    def passes(self, pgd_steps: int) -> float:
        return 2 + 2 * pgd_steps

    def measure(self, view: View) -> Measured:
        one, other = (delta.flatten(1).double() for delta in (view.fgsm_delta, view.pgd_delta))
        return {"delta_cos": functional.cosine_similarity(one, other, eps=1e-100).mean().item()}


@dataclass(frozen=True, kw_only=True)
class DeltaSpectrum(Diagnostic):
    """Share of the FGSM perturbation's energy by frequency, and that in the upper half of the frequencies.

    The frequency of a DCT coefficient (r, c) is max(r, c), so that a low pass of bandwidth W keeps those below W.
    White noise on a square image has 3/4 of its energy in the upper half.
    """

    name: ClassVar[str] = "delta_spectrum"
    source: ClassVar[str] = "Ortiz-Jimenez et al., TMLR 2023, section 5"
    columns: ClassVar[tuple[Measurement, ...]] = (
        Measurement(
            "delta_high_share", "fraction", "share of the FGSM delta's energy in the upper half of the frequencies"
        ),
        Measurement("delta_spectrum", "fraction", "share of its energy by frequency, from 0", many=True),
    )

    def passes(self, pgd_steps: int) -> float:
        return 2

    def measure(self, view: View) -> Measured:
        shares = spectrum(view.fgsm_delta).mean(dim=0)
        return {
            "delta_spectrum": shares.cpu().tolist(),
            "delta_high_share": shares[(len(shares) + 1) // 2 :].sum().item(),
        }


def spectrum(delta: Tensor) -> Tensor:
    """(N, max(H, W)) float64 share of each image's (N, C, H, W) energy by frequency; zeros for an image of zeros."""
    height, width = delta.shape[-2:]
    energy = dct2(delta.double()).square().sum(dim=1).flatten(1)
    rows, columns = torch.arange(height), torch.arange(width)
    frequency = torch.maximum(rows[:, None], columns[None]).flatten().to(delta.device)
    # A product with a one-hot matrix: adding by index has no deterministic kernel on a GPU.
    by_frequency = energy @ functional.one_hot(frequency, max(height, width)).double()
    return by_frequency / energy.sum(dim=1, keepdim=True).clamp_min(1e-300)
