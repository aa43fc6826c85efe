"""Reading image files into arrays: a folder per class, or Parquet with encoded images."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cosweep.errors import CosweepError

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]
_SPLITS = {"train": ("train",), "test": ("test", "validation", "valid", "val")}
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"}
# Pillow knows others, one of which runs a program: EPS is drawn by Ghostscript.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF", "TIFF")
_MOST_PIXELS = 2**26


def read_image_folder(root: Path, size: int | None) -> dict[str, Split]:
    """Train and test images below ``root``; classes are numbered by sorted folder name.

    Args:
        root: Folder with train/CLASS/* and test/CLASS/* (or val/).
        size: Side to resize and centre-crop to; None keeps sizes, which must then agree.

    Raises:
        CosweepError: If a split is absent, a test class has no training images, or a file is no image.
    """
    folders = {split: _find(root, names, "folder")[0] for split, names in _SPLITS.items()}
    found = {split: {p.name for p in folder.iterdir() if p.is_dir()} for split, folder in folders.items()}
    classes = sorted(found["train"])
    if not classes:
        raise CosweepError(f"{folders['train']} has no folder per class; expected train/CLASS/*.png")
    if unknown := found["test"] - found["train"]:
        raise CosweepError(f"{folders['test']}: classes without training images: {', '.join(sorted(unknown))}")
    return {split: _stack(_folder_items(folder, classes), size, folder) for split, folder in folders.items()}


def _folder_items(folder: Path, classes: list[str]) -> Iterator[tuple[bytes, int, str]]:
    for label, name in enumerate(classes):
        for file in sorted((folder / name).glob("*")):
            if file.suffix.lower() in _SUFFIXES:
                yield file.read_bytes(), label, str(file)


def read_image_parquet(root: Path, size: int | None) -> dict[str, Split]:
    """Train and test images of Parquet files ``train*.parquet`` and ``test*.parquet`` below ``root``.

    The image column is ``image`` or ``img``, a struct with the encoded ``bytes``; the label column is
    ``label`` or ``fine_label``. Needs pyarrow.

    Args:
        root: Folder that holds the files, directly or below data/.
        size: Side to resize and centre-crop to; None keeps sizes, which must then agree.

    Raises:
        CosweepError: If files or columns are absent, or an image cannot be decoded.
    """
    import pyarrow.parquet as pq

    splits: dict[str, Split] = {}
    for split, names in _SPLITS.items():
        files = _find(root, tuple(f"{name}*.parquet" for name in names), "file")
        splits[split] = _stack(_parquet_items(pq, files), size, root)
    return splits


def _parquet_items(pq: Any, files: list[Path]) -> Iterator[tuple[bytes, int, str]]:
    for file in files:
        try:
            table = pq.ParquetFile(file)
        except (ValueError, OSError) as error:  # pyarrow's own errors are of these kinds
            raise CosweepError(f"{file}: not a readable Parquet file ({error})") from error
        names = table.schema_arrow.names
        image = next((n for n in ("image", "img") if n in names), None)
        label = next((n for n in ("label", "fine_label") if n in names), None)
        if image is None or label is None:
            raise CosweepError(f"{file}: expected columns image (or img) and label, found {', '.join(names)}")
        number = 0
        for batch in table.iter_batches(batch_size=1024, columns=[image, label]):
            rows = zip(batch.column(image).to_pylist(), batch.column(label).to_pylist(), strict=True)
            for encoded, y in rows:
                where = f"{file}, row {number}"
                if not isinstance(encoded, dict) or not isinstance(encoded.get("bytes"), bytes):
                    raise CosweepError(f"{where}: {image} holds no encoded image; expected a struct with bytes")
                if not isinstance(y, int) or y < 0:
                    raise CosweepError(f"{where}: {label} must be a whole number from 0, got {y!r}")
                yield encoded["bytes"], y, where
                number += 1


def _find(root: Path, patterns: tuple[str, ...], what: str) -> list[Path]:
    """All that match the first pattern with a match, directly below ``root`` or below its data/, sorted."""
    for folder in (root, root / "data"):
        for pattern in patterns:
            found = sorted(folder.glob(pattern))
            if found:
                return found
    raise CosweepError(
        f"no {what} {' or '.join(patterns)} in {root.absolute()}; set trial.data.root to the folder that holds it"
    )


def _stack(items: Iterable[tuple[bytes, int, str]], size: int | None, where: Path) -> Split:
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for encoded, label, name in items:
        try:
            images.append(_decode(encoded, size))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise CosweepError(f"{name}: not a readable image ({error})") from error
        labels.append(label)
        if images[-1].shape != images[0].shape:
            raise CosweepError(
                f"{name}: image of (C, H, W) {images[-1].shape}, the first was {images[0].shape}; "
                "set trial.data.size to resize all"
            )
    if not images:
        raise CosweepError(f"{where}: no images found")
    return np.stack(images), np.asarray(labels, dtype=np.int64)


def _decode(encoded: bytes, size: int | None) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(encoded), formats=_FORMATS) as opened:
        if opened.width * opened.height > _MOST_PIXELS:  # a few bytes may stand for many gigabytes
            raise OSError(f"{opened.width}x{opened.height} pixels are more than {_MOST_PIXELS:,}")
        image = opened.convert("L" if opened.mode in ("L", "1", "I;16") else "RGB")
    if size is not None:
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
