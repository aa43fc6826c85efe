"""AutoAttack's APGD-CE, APGD-T and Square, by its authors' code in the package pyautoattack."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

from cosweep.attacks.gradients import input_gradient, vanished
from cosweep.attacks.pgd import correct, pgd_alpha, withstands_pgd
from cosweep.attacks.projection import Norm
from cosweep.attacks.threat_model import ThreatModel
from cosweep.errors import CosweepError
from cosweep.seeding import RandomStream
from cosweep.units import Box

_STEPS = 100
"""Of each attack by gradients."""
_NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}


def check_installed() -> None:
    """Nothing, if the package is there.

    Raises:
        CosweepError: If it is not.
    """
    if importlib.util.find_spec("pyautoattack") is None:
        raise CosweepError("attack autoattack needs the package pyautoattack; pip install pyautoattack")


def check_images(norm: Norm, shape: tuple[int, int, int]) -> None:
    """Nothing, if Square can tile images (C, H, W); in l2 it starts from tiles of a fifth of the height.

    Raises:
        CosweepError: If the tiles leave the image, which the authors' code does not allow for.
    """
    _, height, width = shape
    tile = height // 5
    first = (height - 5 * tile) // 2
    if norm == "l2" and (tile == 0 or (tile > 1 and any(first + side // tile * tile > side for side in shape[1:]))):
        raise CosweepError(
            f"attack autoattack in l2 cannot take images of {height}x{width}: Square's tiles of a fifth of the height "
            "do not fit; take attack pgd, or another image size (data.size)"
        )


def withstands_autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    num_classes: int,
    reach: Box,
    seed: int,
) -> Tensor:
    """Which examples (N,) none of the attacks turns wrong (Croce and Hein, ICML 2020).

    One restart of APGD on the cross-entropy (100 steps), APGD on the targeted DLR loss for up to nine classes, and
    Square with 5000 queries. The targeted DLR loss is not defined for fewer than four classes: the DLR loss takes
    its place with three, and nothing with two. FAB, the fourth of the standard version, is left out: it is by far
    the slowest and finds next to nothing after the others.

    The package keeps images in [0, 1], so it gets them on the scale of ``reach``, which is to hold the box and all
    images, unless the box pulls; what it finds is then clipped to the box, as by the other attacks.

    Of what the package leaves standing, two kinds of images are attacked once more, by PGD of 100 steps. Those outside
    the box, since clipping takes away part of what the package found. And those whose cross-entropy gradient is exactly
    zero, on the margin: APGD on the cross-entropy cannot move from such an image, and with two classes no other of the
    attacks has a gradient. Other images are judged by the package alone.
    """
    check_installed()
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.square import SquareAttack

    standing = correct(model, x, y)
    if threat.epsilon == 0 or not standing.any():
        return standing
    width = reach.high - reach.low
    scaled = _Scaled(model, reach.low, width)
    images = (x - reach.low) / width
    common: dict[str, Any] = {
        "norm": _NORMS[threat.norm],
        "eps": threat.epsilon / width,
        "seed": seed % 2**31,
        "device": x.device,
        "verbose": False,
        "n_restarts": 1,
    }
    attacks: list[Any] = [APGDAttack(scaled, n_iter=_STEPS, loss="ce", **common)]
    if num_classes >= 4:
        targets = min(9, num_classes - 1)
        attacks.append(APGDAttack_targeted(scaled, n_iter=_STEPS, n_target_classes=targets, **common))
    elif num_classes == 3:
        attacks.append(APGDAttack(scaled, n_iter=_STEPS, loss="dlr", **common))
    attacks.append(SquareAttack(scaled, p_init=0.8, n_queries=5000, resc_schedule=False, **common))
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        for attack in attacks:
            alive = standing.nonzero().flatten()
            if len(alive) == 0:
                break
            found = reach.low + width * attack.perturb(images[alive], y[alive]) - x[alive]
            standing[alive] = correct(model, x[alive] + threat.clip(found, x[alive]), y[alive])
    alive = standing.nonzero().flatten()
    if len(alive):
        outside = ((x[alive] < threat.box.low) | (x[alive] > threat.box.high)).flatten(1).any(dim=1)
        alive = alive[outside | vanished(input_gradient(model, x[alive], y[alive]))]
    if len(alive):
        standing[alive] = withstands_pgd(
            model,
            x[alive],
            y[alive],
            threat,
            alpha=pgd_alpha(threat.epsilon, _STEPS),
            steps=_STEPS,
            restarts=1,
            rng=RandomStream(seed, "pgd"),
        )
    return standing


class _Scaled(nn.Module):
    """A model of images on another scale: u in [0, 1] stands for low + width * u."""

    def __init__(self, model: nn.Module, low: float, width: float) -> None:
        super().__init__()
        self.model, self.low, self.width = model, low, width

    def forward(self, u: Tensor) -> Tensor:
        logits: Tensor = self.model(self.low + self.width * u)
        return logits
