"""Random numbers that depend on the trial's seed and a label alone, never on what ran before.

Every draw is made on the CPU from its own generator, so a step can be repeated, a trial resumed, and a
GPU given the same numbers as a CPU.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *labels: str | int) -> int:
    """63-bit seed for one purpose, such as ``derive_seed(0, "order", epoch)``."""
    digest = hashlib.blake2b(repr((seed, *labels)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *labels: str | int) -> torch.Generator:
    """CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, *labels))
