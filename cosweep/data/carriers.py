"""Carriers: one pattern per class, the ``v(y)`` of an injection."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cosweep.data.dct import dct_matrix
from cosweep.errors import CosweepError
from cosweep.seeding import generator

Shape = tuple[int, int, int]
Mode = tuple[int, int, int]
"""Frequency over channels, rows and columns."""
Carriers = Callable[[int, Shape, int], Tensor]

# (channel, row, column) frequencies of classes 0-4 in the released code; classes 5-9 take their negatives.
_PAPER_MODES: tuple[Mode, ...] = ((0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 2, 1), (0, 1, 2))


def dct_sign(num_classes: int, shape: Shape, seed: int = 0) -> Tensor:
    """Signs of low-frequency DCT basis images, same on every channel (Ortiz-Jimenez et al., TMLR 2023).

    Up to ten classes take the dictionary of the paper's released code: five modes and their negatives
    (section 3). More classes take one mode each in zig-zag order without the constant one, linearly
    independent of those before; the released code's version of that fills whole rows of coefficients by
    mistake and is not followed. Modes that differ between channels come after all others.

    Args:
        num_classes: K.
        shape: (C, H, W) of the images.
        seed: Not used; these carriers are not random.

    Returns:
        (K, C, H, W) float32, entries +1 or -1, no two classes alike.

    Raises:
        CosweepError: If images of this size have fewer distinct patterns than classes.
    """
    return _dictionary("dct_sign", num_classes, shape, _sign_wave)


def dct_l2(num_classes: int, shape: Shape, seed: int = 0) -> Tensor:
    """The DCT basis images of ``dct_sign`` themselves, each of Euclidean length 1; beta is then a length in l2."""
    return _dictionary("dct_l2", num_classes, shape, _wave)


def high_frequency(num_classes: int, shape: Shape, seed: int = 0) -> Tensor:
    """``dct_sign`` mirrored in frequency: signs of the DCT basis images at the other end of the spectrum."""
    _, height, width = shape

    def mirrored(mode: Mode, shape: Shape) -> Tensor:
        return _sign_wave((mode[0], height - 1 - mode[1], width - 1 - mode[2]), shape)

    return _dictionary("high_frequency", num_classes, shape, mirrored)


def random_sign(num_classes: int, shape: Shape, seed: int = 0) -> Tensor:
    """Independent random signs at every pixel and channel, drawn from ``seed``."""
    signs = torch.randint(2, (num_classes, *shape), generator=generator(seed, "random_sign"))
    _refuse_too_few("random_sign", num_classes, shape, len(torch.unique(signs.flatten(1), dim=0)))
    return signs.to(torch.float32) * 2 - 1


def _zigzag(shape: Shape) -> list[Mode]:
    """DCT modes by growing diagonal, direction alternating as in JPEG, without (0, 0); channel by channel."""
    channels, height, width = shape
    modes = ((c, r, k) for c in range(channels) for r in range(height) for k in range(width) if c + r + k)
    return sorted(modes, key=lambda m: (m[0], m[1] + m[2], m[1] if (m[1] + m[2]) % 2 else m[2]))


def _wave(mode: Mode, shape: Shape) -> Tensor:
    """(C, H, W) float64 DCT basis image of Euclidean length 1."""
    channel, row, column = (dct_matrix(size)[k] for size, k in zip(shape, mode, strict=True))
    return channel[:, None, None] * row[:, None] * column


def _sign_wave(mode: Mode, shape: Shape) -> Tensor:
    # A cosine that is exactly zero comes out as rounding noise; it counts as +1 so that entries stay +-1.
    return torch.where(_wave(mode, shape) > -1e-9, 1.0, -1.0).to(torch.float64)


def _dictionary(name: str, num_classes: int, shape: Shape, pattern: Callable[[Mode, Shape], Tensor]) -> Tensor:
    """(K, C, H, W) patterns: up to ten classes take the paper's five modes and their negatives, more a mode each."""
    modes = _zigzag(shape)
    if num_classes <= 2 * len(_PAPER_MODES):
        paper = [mode for mode in _PAPER_MODES if mode in modes]
        others = (mode for mode in modes if mode not in paper)  # where the image is too small for the paper's
        half = _independent((pattern(mode, shape) for mode in (*paper, *others)), len(_PAPER_MODES))
        patterns = half + [-one for one in half]
    else:
        patterns = _independent((pattern(mode, shape) for mode in modes), num_classes)
    _refuse_too_few(name, num_classes, shape, len(patterns))
    return torch.stack(patterns[:num_classes]).to(torch.float32)


def _independent(patterns: Iterator[Tensor], count: int) -> list[Tensor]:
    """The first ``count`` patterns that are no linear combination of those before, or as many as there are."""
    first = list(itertools.islice(patterns, count))
    if not first or _rank(first) == len(first):
        return first
    patterns = itertools.chain(first, patterns)
    kept: list[Tensor] = []
    basis = torch.empty(0, 0, dtype=torch.float64)
    for pattern in patterns:
        if len(kept) == count:
            break
        flat = pattern.flatten() / pattern.norm()
        basis = basis if kept else flat.new_empty(0, len(flat))
        rest = flat - basis.T @ (basis @ flat)
        if rest.norm() > 1e-6:
            kept.append(pattern)
            basis = torch.cat([basis, (rest / rest.norm())[None]])
    return kept


def _rank(patterns: list[Tensor]) -> int:
    """Rank of the patterns, from their small Gram matrix."""
    flat = torch.stack([pattern.flatten() / pattern.norm() for pattern in patterns])
    return int((torch.linalg.eigvalsh(flat @ flat.T) > 1e-9).sum())


def _refuse_too_few(name: str, num_classes: int, shape: Shape, found: int) -> None:
    if num_classes > found:
        raise CosweepError(
            f"carriers {name}: {num_classes} classes need as many patterns, images of {shape[1]}x{shape[2]} "
            f"have {found}; use larger images or fewer classes"
        )


CARRIERS: dict[str, Carriers] = {
    "dct_sign": dct_sign,
    "dct_l2": dct_l2,
    "random_sign": random_sign,
    "high_frequency": high_frequency,
}
