"""Decoding image files into arrays of 8-bit pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sized
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from cosweep.errors import CosweepError

# Pillow knows others; one of them, EPS, it has drawn by a program.
_KINDS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000", "QOI", "PCX", "SGI", "SUN", "TGA")
_GREY = ("1", "L", "LA", "La")
_GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_BITS, _SENSE = 258, 262
"""Tags of a TIFF; Pillow takes levels of 12 bits, and those with white at 0, for others of 16 bits."""
_MOST_PIXELS = 2**26
Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Example(NamedTuple):
    """An image still encoded: its bytes or its file, its label, and where it stands, for messages."""

    image: bytes | Path
    label: int
    place: str


@cache
def kinds() -> tuple[str, ...]:
    """Kinds of images that are read, as far as this Pillow has them."""
    Image.init()
    return tuple(kind for kind in _KINDS if kind in Image.OPEN)


def kind_by_signature(head: bytes) -> str | None:
    """The kind of image that a file's first 16 bytes announce, if any."""
    signed = ((kind, Image.OPEN[kind][1]) for kind in kinds())
    # Pillow answers with a text if it was built without the kind.
    return next((kind for kind, accepts in signed if accepts is not None and accepts(head) is True), None)


def decode(splits: Mapping[str, Iterable[Example]], size: int | None) -> tuple[dict[str, Split], list[str]]:
    """Images and labels by split, and notes for the user.

    All images become RGB if any is in colour; otherwise they keep one channel.

    Args:
        splits: Examples by name of the split.
        size: Side to resize and centre-crop to; None keeps sizes, which must then agree.

    Raises:
        CosweepError: If an image cannot be decoded, or has another size than the first one.
    """
    first: tuple[int, ...] | None = None
    animated: list[str] = []
    images: dict[str, list[NDArray[np.uint8]]] = {split: [] for split in splits}
    labels: dict[str, list[int]] = {split: [] for split in splits}
    for split, examples in splits.items():
        for example in examples:
            pixels, is_animated = _decoded(example, size)
            first = first or pixels.shape
            if pixels.shape[1:] != first[1:]:
                raise CosweepError(
                    f"{example.place}: image of (C, H, W) {pixels.shape}, the first was {first}; "
                    "set trial.data.size to resize all"
                )
            images[split].append(pixels)
            labels[split].append(example.label)
            animated += [example.place] * is_animated
    channels = max((image.shape[0] for some in images.values() for image in some), default=1)
    arrays = {
        split: (
            np.stack([np.broadcast_to(image, (channels, *image.shape[1:])) for image in some]),
            np.asarray(labels[split], dtype=np.int64),
        )
        for split, some in images.items()
    }
    text = f"{counted(animated, 'file')} with several images, of which the first is read: {listed(animated)}"
    return arrays, [text] if animated else []


def counted(items: Sized, what: str) -> str:
    """Their number and name, such as ``2 files``."""
    return f"{len(items):,} {what}{'s' if len(items) != 1 else ''}"


def listed(items: Iterable[object], most: int = 5) -> str:
    """The first few, and that there are more."""
    texts = [str(item) for item in items]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most:,} more" if len(texts) > most else "")


def _decoded(example: Example, size: int | None) -> tuple[NDArray[np.uint8], bool]:
    """(C, H, W) pixels of an image, and whether its file holds more images."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which change no pixel
            return _open(example, size)
    except Exception as error:  # a damaged file may raise anything in Pillow
        raise CosweepError(
            f"{example.place}: not a readable image ({_reason(error, example.image)}); replace it, or leave it out"
        ) from error


def _open(example: Example, size: int | None) -> tuple[NDArray[np.uint8], bool]:
    file = example.image if isinstance(example.image, Path) else io.BytesIO(example.image)
    with Image.open(file, formats=kinds()) as opened:
        if opened.width * opened.height > _MOST_PIXELS:  # a few bytes may stand for many gigabytes
            raise ValueError(f"{opened.width}x{opened.height} pixels are more than {_MOST_PIXELS:,}")
        is_animated = bool(getattr(opened, "is_animated", False))
        image = _eight_bits(opened)
    if size is not None:
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image, dtype=np.uint8)
    return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), is_animated


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB. Pillow's own conversion makes all 16-bit levels above 255 white."""
    if image.mode in _GREY_16_BIT or (image.mode == "I" and image.format == "PPM"):  # PPM's are scaled to 16 bits
        if isinstance(image, TiffImageFile) and [image.tag_v2.get(tag) for tag in (_BITS, _SENSE)] != [(16,), 1]:
            raise ValueError("grey levels whose white is not 65535; expected 16 bits with black at 0, or 8 bits")
        levels = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if image.mode[0] in "IF":
        raise ValueError(
            f"mode {image.mode}: floats, signed or 32-bit integers do not say which value is white; "
            "expected 8 bits a channel, or 16 unsigned bits of grey"
        )
    return image.convert("L" if image.mode in _GREY else "RGB")


def _reason(error: Exception, image: bytes | Path) -> str:
    if not isinstance(error, UnidentifiedImageError):
        return str(error) or type(error).__name__
    if isinstance(image, Path):
        with image.open("rb") as file:
            head = file.read(16)
    else:
        head = image[:16]
    if not head:
        return "it is empty"
    if kind := kind_by_signature(head):
        return f"a damaged {kind}, whose head makes no sense"
    return f"it begins like none of {', '.join(kinds())}"
