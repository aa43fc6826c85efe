"""Pixel quantities: the only place that knows 255.

Everywhere else ``epsilon``, ``alpha`` and ``beta`` are floats on the scale of pixels in [0, 1].
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_FRACTION = re.compile(r"\s*([-+]?[0-9]{1,20}(?:\.[0-9]{0,20})?)\s*/\s*([0-9]{1,20})\s*")
GREY_LEVELS = 255


class Box(NamedTuple):
    """Range of valid pixels; perturbed images stay inside it.

    Attributes:
        low, high: Its ends.
        pulls: Whether an image outside is pulled inside with its perturbation, as the released code does;
            otherwise it may be perturbed back towards the box, no further out.
    """

    low: float
    high: float
    pulls: bool = False


def parse_pixels(value: object) -> float:
    """Float on the [0, 1] pixel scale from a number or a text such as ``"8/255"``.

    The quotient is rounded once, so every machine reads the same float.

    Raises:
        ValueError: If the value is neither a number nor a fraction.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected a number or a fraction such as 8/255, got {value!r}")
    if isinstance(value, str):
        match = _FRACTION.fullmatch(value)
        if match and int(match[2]) != 0:
            return float(Fraction(match[1]) / int(match[2]))
    try:
        return float(value)
    except (ValueError, OverflowError):
        message = f"expected a number or a fraction such as 8/255, got {value!r}"
        raise ValueError(message) from None


def format_pixels(value: float) -> str:
    """Text such as ``"8/255"``: grey levels to two decimals at most."""
    levels = f"{value * GREY_LEVELS:.2f}".rstrip("0").rstrip(".")
    return "0" if levels in ("0", "-0") else f"{levels}/{GREY_LEVELS}"
