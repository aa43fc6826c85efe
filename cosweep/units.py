"""Pixel quantities: the only place that knows 255.

Everywhere else ``epsilon``, ``alpha`` and ``beta`` are floats on the scale of pixels in [0, 1].
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from cosweep.errors import shown

_FRACTION = re.compile(r"\s*([-+]?[0-9]{1,20}(?:\.[0-9]{0,20})?)\s*/\s*([0-9]{1,20})\s*")
_NUMBER = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")
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


def parse_number(value: int | float | str) -> float:
    """Float of a number, or of a text that is one in ASCII digits: Python's ``float`` would also read ``1_000``.

    Raises:
        ValueError: If the text is no number, or the number too large for a float.
    """
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError(f"expected a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"expected a number that a float can hold, got {shown(value)}") from error


def parse_pixels(value: object) -> float:
    """Float on the [0, 1] pixel scale from a number or a text such as ``"8/255"``.

    The quotient is rounded once, so every machine reads the same float.

    Raises:
        ValueError: If the value is neither a number nor a fraction.
    """
    message = f"expected a number or a fraction such as 8/255, got {shown(value)}"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(message)
    if isinstance(value, str):
        match = _FRACTION.fullmatch(value)
        if match and int(match[2]) != 0:
            return float(Fraction(match[1]) / int(match[2]))
    try:
        return parse_number(value)
    except ValueError:
        raise ValueError(message) from None


def format_pixels(value: float) -> str:
    """Text such as ``"8/255"``: grey levels to two decimals at most."""
    levels = f"{value * GREY_LEVELS:.2f}".rstrip("0").rstrip(".")
    return "0" if levels in ("0", "-0") else f"{levels}/{GREY_LEVELS}"
