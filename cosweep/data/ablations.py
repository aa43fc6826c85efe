"""Ablations: held-out images that show which part of the data a trained model uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cosweep.data.injections import project_out, span_basis
from cosweep.data.interventions import BoundIntervention
from cosweep.metrics import Ablation


def ablated(
    interventions: Sequence[BoundIntervention], ablation: Ablation, x: Tensor, y: Tensor, example: Tensor
) -> Tensor:
    """Images (N, C, H, W) as an ablation shows them (paper, section 4, and the released code's loaders).

    Args:
        interventions: Those of the trial, in order.
        ablation: ``injected``: as trained on. ``clean``: x itself. ``carrier_only``: an image of zeros in place of x.
            ``reversed``: the feature subtracted. ``permuted``: the feature made of another class's
            carrier, drawn once for each example. ``orthogonal``: no feature, and its span taken out of x.
        x: (N, C, H, W) original images.
        y: (N,) labels.
        example: (N,) numbers of the examples.
    """
    if ablation == "clean":
        return x.clone()
    if ablation == "carrier_only":
        x = torch.zeros_like(x)
    strength = {"reversed": -1.0, "orthogonal": 0.0}.get(ablation, 1.0)
    for intervention in interventions:
        x = intervention(x, y, example, strength=strength, permuted=ablation == "permuted")
        if ablation == "orthogonal" and intervention.carriers is not None:
            x = project_out(x, span_basis(intervention.carriers))
    return x
