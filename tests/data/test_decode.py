"""Images as files hold them: bit depths, colours, kinds, and every kind of damage."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cosweep.data.decode import Example, decode, kinds
from cosweep.errors import CosweepError
from tests.data.image_files import images, png

RAMP = np.linspace(0, 65535, 8).round().astype(np.uint16).reshape(1, 8)
EIGHT_BITS = [0, 36, 73, 109, 146, 182, 219, 255]  # of the ramp, each level divided by 257 and rounded


def decoded(*encoded: bytes, size: int | None = None) -> NDArray[np.uint8]:
    """(N, C, H, W)."""
    splits, _ = decode({"train": [Example(one, 0, f"file {i}") for i, one in enumerate(encoded)]}, size)
    return splits["train"][0]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(pixels: NDArray[Any], sample_format: int) -> bytes:
    """An uncompressed grey TIFF; sample formats are 1 unsigned, 2 signed, 3 float."""
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    bits, data = pixels.dtype.itemsize * 8, pixels.tobytes()
    height, width = pixels.shape
    short, long = 3, 4
    tags = [(256, long, width), (257, long, height), (258, short, bits), (259, short, 1), (262, short, 1)]
    tags += [(273, long, 8), (277, short, 1), (278, long, height), (279, long, len(data)), (339, short, sample_format)]
    entries = [
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}{'I' if kind == long else 'H2x'}", value)
        for tag, kind, value in tags
    ]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4)


SIXTEEN_BITS = {
    "png": saved(Image.fromarray(RAMP), "PNG"),
    "tiff": tiff(RAMP.astype("<u2"), 1),
    "tiff big-endian": tiff(RAMP.astype(">u2"), 1),
    "pgm": b"P5 8 1 65535\n" + RAMP.astype(">u2").tobytes(),
    "plain pgm": b"P2 8 1 65535\n" + b" ".join(b"%d" % level for level in RAMP[0]),
}


@pytest.mark.parametrize("content", SIXTEEN_BITS.values(), ids=SIXTEEN_BITS)
def test_grey_of_sixteen_bits_is_scaled_to_eight(content: bytes) -> None:
    """Pillow's own conversion gives 0, 255, 255, ..."""
    assert decoded(content)[0].tolist() == [[EIGHT_BITS]]


@pytest.mark.parametrize("white", [1, 100, 255, 1023, 4095])
def test_white_of_a_pgm_is_what_its_head_says(white: int) -> None:
    levels = np.array([0, white], dtype=np.uint8 if white < 256 else ">u2")
    assert decoded(b"P5 2 1 %d\n" % white + levels.tobytes())[0].tolist() == [[[0, 255]]]


@pytest.mark.parametrize(
    ("pixels", "sample_format", "mode"),
    [
        (RAMP.astype("<f4"), 3, "F"),
        (RAMP.astype("<u4"), 1, "I"),
        (RAMP.astype("<i4"), 2, "I"),
        ((RAMP // 2).astype("<i2"), 2, "I"),
    ],
)
def test_levels_whose_white_is_not_told_are_refused(pixels: NDArray[Any], sample_format: int, mode: str) -> None:
    with pytest.raises(CosweepError, match=rf"file 0: not a readable image \(mode {mode}: .*expected 8 bits a channel"):
        decoded(tiff(pixels, sample_format))


def test_a_portable_float_map_is_refused() -> None:
    with pytest.raises(CosweepError, match="mode F"):
        decoded(b"Pf\n8 1\n-1.0\n" + RAMP.astype("<f4").tobytes())


def test_all_images_are_in_colour_if_any_is() -> None:
    grey, colour = images(1, channels=1)[0], images(1)[0]
    splits, _ = decode(
        {"train": [Example(png(grey), 0, "grey")], "test": [Example(png(colour), 0, "colour")]}, size=None
    )
    assert np.array_equal(splits["train"][0][0], np.stack([grey] * 3))
    assert np.array_equal(splits["test"][0][0], colour.transpose(2, 0, 1))
    assert decoded(png(colour), png(grey), png(grey), size=4).shape == (3, 3, 4, 4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_modes_of_pillow_keep_what_they_show(mode: str) -> None:
    """Grey with transparency stays grey; a palette's colours are those that it names."""
    shown = Image.fromarray(np.where(images(1, channels=1)[0] > 127, 255, 0).astype(np.uint8))
    pixels = decoded(saved(shown.convert(mode), "TIFF" if mode == "CMYK" else "PNG"))[0]
    assert pixels.shape[0] == (1 if mode in ("1", "L", "LA") else 3)
    assert (pixels == np.asarray(shown)).all()


def test_only_the_first_image_of_a_file_is_read_and_that_is_told() -> None:
    first, second = (Image.fromarray(one) for one in images(2))
    several = saved(first, "TIFF", save_all=True, append_images=[second])
    splits, notes = decode({"train": [Example(several, 0, "a.tif"), Example(png(images(1)[0]), 0, "b.png")]}, None)
    assert np.array_equal(splits["train"][0][0], images(2)[0].transpose(2, 0, 1))
    assert notes == ["1 file with several images, of which the first is read: a.tif"]


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


DAMAGED = {
    "empty": (b"", "it is empty"),
    "png with a short head": (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(8)), "Truncated IHDR chunk"),
    "png of a wrong head": (png(images(1)[0]).replace(b"IHDR", b"IHDX"), "a damaged PNG, whose head makes no sense"),
    "png cut off": (png(images(1)[0])[:100], "truncated"),
    "ppm without width": (b"P6 x 8 255\n" + bytes(192), "invalid literal for int"),
    "ppm cut off in its head": (b"P6 8", "Reached EOF while reading header"),
    "pgm with too much white": (b"P5 8 8 70000\n" + bytes(128), "maxval must be greater than 0 and less than 65536"),
    "gif of no size": (b"GIF89a" + bytes(20), ""),
    "text": (b"not an image at all", "it begins like none of PNG, JPEG"),
}


@pytest.mark.parametrize(("content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_image_gives_one_message_with_its_name(content: bytes, reason: str) -> None:
    with pytest.raises(
        CosweepError, match=r"^file 0: not a readable image \(.+\); replace it, or leave it out$"
    ) as told:
        decoded(content)
    assert reason in str(told.value)


def refusal(content: bytes) -> str:
    """What is said of an image; empty if it is read."""
    try:
        decoded(content)
    except CosweepError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", kinds())
def test_however_a_file_is_damaged_its_name_is_told_and_no_address_in_memory(kind: str) -> None:
    rng = np.random.default_rng(0)
    good = saved(Image.fromarray(images(1)[0]), kind) if kind != "SUN" else b"\x59\xa6\x6a\x95" + bytes(200)
    damaged = [good[:length] for length in range(0, len(good), 1 + len(good) // 40)]
    for _ in range(60):
        content = bytearray(good)
        content[rng.integers(min(len(good), 60))] = rng.integers(256)
        damaged.append(bytes(content))
    told = [message for content in damaged if (message := refusal(content))]
    assert len(told) > 5
    assert not [text for text in told if not text.startswith("file 0: not a readable image (")]
    assert not [text for text in told if " at 0x" in text or "\n" in text]


@pytest.mark.parametrize("tags", [{258: 12}, {262: 0}])
def test_a_tiff_whose_white_is_another_level_is_refused(tmp_path: Path, tags: dict[int, int]) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(RAMP).save(path)
    content = bytearray(path.read_bytes())
    for tag, value in tags.items():  # 12 bytes an entry: tag, type, count, value
        place = next(i for i in range(8, len(content)) if content[i : i + 4] == struct.pack("<HH", tag, 3))
        content[place + 8 : place + 10] = struct.pack("<H", value)
    path.write_bytes(content)
    with pytest.raises(CosweepError, match="grey levels whose white is not 65535; expected 16 bits with black at 0"):
        decode({"train": [Example(path, 0, str(path))]}, None)
