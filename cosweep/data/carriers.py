"""Carriers: one pattern with entries +1 or -1 per class, the ``v(y)`` of an injection."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cosweep.data.dct import idct2
from cosweep.errors import CosweepError

Carriers = Callable[[int, tuple[int, int, int]], Tensor]

# (row, column) frequencies of classes 0-4 in the released code; classes 5-9 take their negatives.
_PAPER_MODES = ((0, 1), (1, 0), (1, 1), (2, 1), (1, 2))


def dct_sign(num_classes: int, shape: tuple[int, int, int]) -> Tensor:
    """Signs of low-frequency DCT basis images, same on every channel (Ortiz-Jimenez et al., TMLR 2023).

    Up to ten classes take the dictionary of the paper's released code: five modes and their negatives
    (Ortiz-Jimenez et al., TMLR 2023, section 3). More classes take one mode each in zig-zag order
    without the constant one; the released code's version of that fills whole rows of coefficients by
    mistake and is not followed.

    Args:
        num_classes: K.
        shape: (C, H, W) of the images.

    Returns:
        (K, C, H, W) float32, entries +1 or -1, no two classes alike.

    Raises:
        CosweepError: If images of this size have fewer distinct patterns than classes.
    """
    channels, height, width = shape
    if num_classes <= 2 * len(_PAPER_MODES):
        half = [_sign_mode(mode, height, width) for mode in _PAPER_MODES if _fits(mode, height, width)]
        patterns = half + [-pattern for pattern in half]
    else:
        patterns = [_sign_mode(mode, height, width) for mode in _zigzag(height, width)]
    distinct = _distinct(patterns)
    if num_classes > len(distinct):
        raise CosweepError(
            f"carriers dct_sign: {num_classes} classes need as many patterns, images of {height}x{width} "
            f"have {len(distinct)}; use larger images or fewer classes"
        )
    planes = torch.stack(distinct[:num_classes])
    return planes[:, None].repeat(1, channels, 1, 1).to(torch.float32)


def _fits(mode: tuple[int, int], height: int, width: int) -> bool:
    return mode[0] < height and mode[1] < width


def _sign_mode(mode: tuple[int, int], height: int, width: int) -> Tensor:
    coefficients = torch.zeros(height, width, dtype=torch.float64)
    coefficients[mode] = 1.0
    # A cosine that is exactly zero comes out as rounding noise; it counts as +1 so that entries stay +-1.
    return torch.where(idct2(coefficients) > -1e-9, 1.0, -1.0)


def _zigzag(height: int, width: int) -> list[tuple[int, int]]:
    """DCT modes by growing diagonal, direction alternating as in JPEG, without (0, 0)."""
    modes = ((r, c) for r in range(height) for c in range(width) if r + c)
    return sorted(modes, key=lambda m: (m[0] + m[1], m[0] if (m[0] + m[1]) % 2 else m[1]))


def _distinct(patterns: list[Tensor]) -> list[Tensor]:
    unique: dict[bytes, Tensor] = {}
    for pattern in patterns:
        unique.setdefault(pattern.numpy().tobytes(), pattern)
    return list(unique.values())


CARRIERS: dict[str, Carriers] = {"dct_sign": dct_sign}
