"""Images by somebody else: no program is started for them, no pickle is loaded, no small file fills the memory."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cosweep.data.sources import ImageFolder, ImageParquet
from cosweep.errors import CosweepError


def png(width: int, height: int) -> bytes:
    """A PNG that claims to be so large, in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def numpy_pickle() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


BAD = {
    "bomb": png(60_000, 60_000),
    "large": png(9_000, 9_000),
    "postscript": encoded("EPS"),
    "pickle": pickle.dumps(Path("x")),
    "numpy": numpy_pickle(),
    "empty": b"",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
@pytest.mark.filterwarnings("error")
def test_a_folder_with_a_hostile_image_is_refused(tmp_path: Path, content: bytes) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "one").mkdir(parents=True)
        (tmp_path / split / "one/a.png").write_bytes(content)
    with pytest.raises(CosweepError, match=r"train/one/a\.png: not a readable image"):
        ImageFolder(root=str(tmp_path)).read()


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_parquet_file_with_a_hostile_image_is_refused(tmp_path: Path, content: bytes) -> None:
    for split in ("train", "test"):
        table = pa.table({"image": [{"bytes": content}], "label": [0]})
        pq.write_table(table, tmp_path / f"{split}.parquet")
    with pytest.raises(CosweepError, match=r"train\.parquet, row 0: not a readable image"):
        ImageParquet(root=str(tmp_path)).read()


@pytest.mark.parametrize(
    "kind",
    ["PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF", "TIFF", "AVIF", "JPEG2000", "QOI", "PCX", "SGI", "TGA"],
)
def test_usual_kinds_of_images_are_read(tmp_path: Path, kind: str) -> None:
    image = {"bytes": encoded(kind)}
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": [image, image], "label": [0, 1]}), tmp_path / f"{split}.parquet")
    assert ImageParquet(root=str(tmp_path)).read().shape == (3, 8, 8)
