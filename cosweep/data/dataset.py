"""Images and labels in memory, checked once for all that trains on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosweep.errors import CosweepError

_MOST_CHANNELS = 4  # an array with more at axis 1, and as few at its end, has its axes in another order


@dataclass(frozen=True)
class Dataset:
    """Images and labels in memory, as plain arrays that processes can share.

    Attributes:
        x_train, x_test: (N, C, H, W) uint8, from 0 to ``max_value``.
        y_train, y_test: (N,) int64 in [0, num_classes).
        num_classes: K, at least 2.
        max_value: The value of a white pixel.
        notes: What a user should know of how these came from files, such as files left out.

    Raises:
        CosweepError: If the arrays are not as said above; names each that is not, and how to mend it.
    """

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    num_classes: int
    max_value: int = 255
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if faults := list(_faults(self)):
            raise CosweepError(f"cannot train on this data set: {'; '.join(faults)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of all images and labels."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:12]


def _faults(dataset: Dataset) -> Iterator[str]:
    classes, white = dataset.num_classes, dataset.max_value
    if not isinstance(classes, int | np.integer) or classes < 2:
        yield f"num_classes is {classes!r}; expected a whole number of at least 2"
        return
    if not isinstance(white, int | np.integer) or not 1 <= white <= 255:
        yield f"max_value is {white!r}; expected the value of a white pixel, from 1 to 255"
        return
    parts = ((dataset.x_train, dataset.y_train, "train"), (dataset.x_test, dataset.y_test, "test"))
    found = [text for x, y, split in parts for text in (_image_fault(x, split, white), _label_fault(y, split, classes))]
    yield from filter(None, found)
    if any(found):
        return
    for x, y, split in parts:
        if len(x) != len(y):
            yield f"x_{split} has {len(x)} images and y_{split} {len(y)} labels"
    if dataset.x_train.shape[1:] != dataset.x_test.shape[1:]:
        yield (
            f"train images are (C, H, W) {dataset.x_train.shape[1:]}, test images {dataset.x_test.shape[1:]}; "
            "they must agree"
        )


def _image_fault(x: object, split: str, white: int) -> str:
    name = f"x_{split}"
    if not isinstance(x, np.ndarray):
        return f"{name} is a {type(x).__name__}; expected a numpy array"
    if x.dtype != np.uint8:
        scaled = f"for pixels in [0, 1], (x * {white}).round().astype(numpy.uint8)"
        return f"{name} holds {x.dtype}; expected uint8 from 0 to {white}: {scaled}"
    if x.ndim != 4 or 0 in x.shape:
        return f"{name} has shape {x.shape}; expected (N, C, H, W), none of them 0"
    if x.shape[1] > _MOST_CHANNELS >= x.shape[3]:
        return f"{name} has shape {x.shape}; expected (N, C, H, W): x.transpose(0, 3, 1, 2) for (N, H, W, C)"
    if (largest := x.max()) > white:
        return f"{name} has a pixel of {largest}; expected at most max_value, {white}"
    return ""


def _label_fault(y: object, split: str, classes: int) -> str:
    name = f"y_{split}"
    if not isinstance(y, np.ndarray):
        return f"{name} is a {type(y).__name__}; expected a numpy array"
    if y.dtype != np.int64:
        return f"{name} holds {y.dtype}; expected int64: y.astype(numpy.int64)"
    if y.ndim != 1 or not len(y):
        return f"{name} has shape {y.shape}; expected (N,), not empty"
    if y.min() < 0 or y.max() >= classes:
        return f"{name} goes from {y.min()} to {y.max()}; expected labels from 0 to num_classes - 1, {classes - 1}"
    return ""
