"""Outputs of the released code of Ortiz-Jimenez et al., TMLR 2023 (gortizji/co_features).

``reference.npz`` holds its ten carriers ``V``, ten images ``x_uint8`` (N, H, W, C) with labels ``y``,
the images with their carriers injected at 8/255, its FGSM perturbation of 8/255 at the images as they were, on the
small network whose weights are ``model.*``, the DCT of the first image, and that image after its low-pass filter
of bandwidth 8 (called on one image, where it is right).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

BETA = EPSILON = 8 / 255


def reference(name: str) -> Tensor:
    """Array of that name; ``x`` is the images as (N, C, H, W) floats in [0, 1]."""
    with np.load(Path(__file__).with_name("reference.npz")) as stored:
        if name == "x":
            return torch.tensor(stored["x_uint8"]).permute(0, 3, 1, 2).to(torch.float32) / 255
        return torch.tensor(stored[name])


def reference_model() -> nn.Sequential:
    """The network that the released FGSM attacked."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    model.load_state_dict({name: reference(f"model.{name}") for name in model.state_dict()})
    return model
