"""Random numbers that depend on the trial's seed and a label alone, never on what ran before.

So a step can be repeated and a trial resumed, and every device gets the numbers that a CPU gets. Noise, flips and crops
of a batch come from a :class:`RandomStream`, on the device itself. What is drawn once (initial weights, the order of an
epoch, which class an intervention gives an example) comes from a torch generator on the CPU.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GAMMA, _FIRST_FACTOR, _SECOND_FACTOR = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def derive_seed(seed: int, *labels: str | int) -> int:
    """63-bit seed for one purpose, such as ``derive_seed(0, "order", epoch)``."""
    digest = hashlib.blake2b(repr((seed, *labels)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *labels: str | int) -> torch.Generator:
    """CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, *labels))


class RandomStream:
    """Counter-based generator for one purpose: the same numbers on every device, without a copy from the CPU.

    Integers are SplitMix64's. A float32 takes half of one, a float64 a whole one, and either is an integer of as many
    bits as it holds, times a power of two: so uniform numbers are the same bits everywhere. Where several workers share
    a batch, each computes the numbers of its own rows alone, and they are those that a lone worker would have there.

    Attributes:
        state: Of SplitMix64; every draw moves it past the integers that the rows of all workers take.
    """

    def __init__(self, seed: int, *labels: str | int, first_row: int = 0, total_rows: int | None = None) -> None:
        """Start of the stream for a seed and labels.

        Args:
            seed: Of the trial.
            labels: What the numbers are for.
            first_row: Where in the batch the N rows start that are drawn, for shapes (N, ...).
            total_rows: Rows of the whole batch; None if they are those that are drawn.
        """
        self.state = derive_seed(seed, *labels)
        self._first_row, self._total_rows = first_row, total_rows

    def uniform(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Numbers in [0, 1), of the dtype and on the device of ``like``."""
        digits = _digits(like)
        return self._integers(digits, shape, like).mul_(2.0**-digits).add_(0.5)

    def symmetric(self, shape: Sequence[int], like: Tensor, radius: float = 1.0) -> Tensor:
        """Uniform numbers between -radius and radius, as often above zero as below and never zero."""
        digits = _digits(like)
        return self._integers(digits + 1, shape, like, odd=True).mul_(radius * 2.0**-digits)

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Standard normal numbers, the same on every device up to the rounding of its ``erfinv``."""
        return self.symmetric(shape, like).erfinv_().mul_(math.sqrt(2))

    def _integers(self, bits: int, shape: Sequence[int], like: Tensor, *, odd: bool = False) -> Tensor:
        """Signed integers of so many bits, as floats; odd ones may have a bit more than the float has digits."""
        width = 64 if like.dtype == torch.float64 else 32
        a_word = 64 // width  # numbers that one output of SplitMix64 makes
        row, count = math.prod(shape[1:]), math.prod(shape)
        start, skipped = divmod(self._first_row * row, a_word)
        words = splitmix64(self.state + start * _GAMMA, -(-(skipped + count) // a_word), like.device)
        whole = count if self._total_rows is None else self._total_rows * row
        self.state = (self.state + -(-whole // a_word) * _GAMMA) % 2**64
        if width == 32:
            words = words.view(torch.int32)[skipped : skipped + count]
        words >>= width - bits
        if odd:
            words |= 1
        return words.view(tuple(shape)).to(torch.float64 if width == 64 else torch.float32)


def splitmix64(state: int, count: int, device: torch.device) -> Tensor:
    """The next outputs (N,) of SplitMix64 in a state (Steele, Lea and Flood, OOPSLA 2014), as int64."""
    outputs = torch.arange(1, count + 1, device=device).mul_(_int64(_GAMMA)).add_(_int64(state))
    for shift, factor in ((30, _FIRST_FACTOR), (27, _SECOND_FACTOR)):
        outputs.bitwise_xor_(_shifted(outputs, shift)).mul_(_int64(factor))
    return outputs.bitwise_xor_(_shifted(outputs, 31))


def _shifted(words: Tensor, bits: int) -> Tensor:
    """int64 words shifted to the right; torch's shift would fill in the sign."""
    return (words >> bits).bitwise_and_(2 ** (64 - bits) - 1)


def _int64(word: int) -> int:
    """The signed integer with the last 64 bits of a word."""
    return (word + 2**63) % 2**64 - 2**63


def _digits(like: Tensor) -> int:
    """Binary digits of a uniform number."""
    return 53 if like.dtype == torch.float64 else 24
