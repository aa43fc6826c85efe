"""Sets of image files as users have them, made of random pixels."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def images(n: int, height: int = 8, width: int = 8, channels: int = 3, seed: int = 0) -> Pixels:
    """(n, H, W, C), or (n, H, W) for one channel."""
    shape = (n, height, width, channels) if channels > 1 else (n, height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def write_parquet(
    file: Path, pixels: Iterable[Pixels], labels: Sequence[int], image: str = "image", label: str = "label"
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": png(p), "path": None} for p in pixels]
    pq.write_table(pa.table({image: rows, label: list(labels)}), file)


def write_folder(root: Path, split: str, pixels: Iterable[Pixels], classes: Sequence[str]) -> None:
    for index, (one, name) in enumerate(zip(pixels, classes, strict=True)):
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:03d}.png").write_bytes(png(one))
