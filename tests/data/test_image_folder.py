"""Folders of images as they are found on disks: with other files, links and folders between them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cosweep.data.sources import ImageFolder
from cosweep.data.splits import SplitSpec
from cosweep.errors import CosweepError, SpecError
from tests.data.image_files import Pixels, images, png, write_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes with two images each, and one held out of each."""
    write_folder(tmp_path, "train", images(4), ["cat", "cat", "dog", "dog"])
    write_folder(tmp_path, "test", images(2, seed=1), ["cat", "dog"])
    return tmp_path


def as_kind(pixels: Pixels, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def source(root: Path, **options: object) -> ImageFolder:
    return ImageFolder(root=str(root), **options)  # type: ignore[arg-type]


def test_what_begins_with_a_dot_is_no_class_and_no_image(root: Path) -> None:
    """A notebook's checkpoint folder beside the classes would number all of them anew."""
    before = source(root).read()
    (root / "train/.ipynb_checkpoints").mkdir()
    (root / "train/.ipynb_checkpoints/a.png").write_bytes(png(images(1)[0]))
    (root / "train/cat/.ipynb_checkpoints").mkdir()
    (root / "train/cat/.ipynb_checkpoints/000-checkpoint.png").write_bytes(png(images(1)[0]))
    (root / "train/cat/._000.png").write_bytes(b"of another system")
    assert source(root).read().fingerprint() == before.fingerprint()
    assert source(root).read().notes == ()


@pytest.mark.parametrize("place", ["train/ant", "train/ant/deeper", "test/ant"])
def test_a_class_without_images_is_refused(root: Path, place: str) -> None:
    (root / "train/ant").mkdir()
    (root / place).mkdir(parents=True, exist_ok=True)
    if not place.startswith("train"):
        (root / "train/ant/0.png").write_bytes(png(images(1)[0]))
    with pytest.raises(CosweepError, match=rf"{place.split('/')[0]}/ant: a class without images; add them, or remove"):
        source(root).read()


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path, split, images(1), ["cat"])
    with pytest.raises(CosweepError, match="train: one class alone, cat"):
        source(tmp_path).read()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.tif", "TIFF"),
        ("a.TIFF", "TIFF"),
        ("a.gif", "GIF"),
        ("a.pgm", "PPM"),
        ("a.JPEG", "JPEG"),
        ("a.jfif", "JPEG"),
        ("a.jp2", "JPEG2000"),
        ("a.tga", "TGA"),
        ("a.jpg_small", "JPEG"),
        ("a", "PNG"),
        ("a.png", "WEBP"),
    ],
)
def test_images_of_every_kind_and_name_are_read(root: Path, name: str, kind: str) -> None:
    """An image is told by its suffix or its content, and read by its content."""
    (root / "train/dog" / name).write_bytes(as_kind(images(1, channels=1)[0], kind))
    assert source(root).read().y_train.tolist() == [0, 0, 1, 1, 1]


def test_images_in_deeper_folders_are_read_in_order_of_their_paths(root: Path) -> None:
    deeper = images(2, seed=2)
    for place, pixels in zip(("train/cat/black/old", "train/cat/white"), deeper):
        (root / place).mkdir(parents=True)
        (root / place / "0.png").write_bytes(png(pixels))
    dataset = source(root).read()
    assert dataset.y_train.tolist() == [0, 0, 0, 0, 1, 1]
    assert np.array_equal(dataset.x_train[2:4], deeper.transpose(0, 3, 1, 2))


def test_files_that_are_no_images_are_left_out_and_told(root: Path) -> None:
    for name in ("train/cat/Thumbs.db", "train/cat/notes.txt", "test/dog/labels.json"):
        (root / name).write_bytes(b"no image")
    (root / "train/classes.txt").write_text("cat dog")
    dataset = source(root).read()
    assert dataset.y_train.tolist() == [0, 0, 1, 1]
    (note,) = dataset.notes
    assert "left out, since neither name nor content says an image: 3 files" in note
    for name in ("Thumbs.db", "notes.txt", "labels.json"):
        assert name in note


@pytest.mark.parametrize("name", ["scan.pdf", "drawing.svg", "figure.eps", "b.png", "without_suffix", "clip.mpg"])
def test_a_file_that_may_be_an_image_and_cannot_be_read_is_refused(root: Path, name: str) -> None:
    (root / "train/cat" / name).write_bytes(b"what is this")
    with pytest.raises(CosweepError, match=rf"train/cat/{name}: not a readable image \(it begins like none of"):
        source(root).read()


def test_images_beside_the_folders_of_classes_are_refused(root: Path) -> None:
    (root / "train/lost.png").write_bytes(png(images(1)[0]))
    with pytest.raises(CosweepError, match=r"train: 1 image beside the folders of classes: .*lost\.png; move each"):
        source(root).read()


def test_a_pipe_is_not_waited_for_and_a_link_to_nowhere_is_named(root: Path) -> None:
    (root / "train/cat/gone.png").symlink_to(root / "annex/gone.png")
    with pytest.raises(CosweepError, match=r"gone\.png: a link that leads nowhere"):
        source(root).read()
    (root / "train/cat/gone.png").unlink()
    os.mkfifo(root / "train/cat/pipe.png")
    with pytest.raises(CosweepError, match=r"pipe\.png: not a regular file"):
        source(root).read()


def test_links_to_folders_are_followed_and_a_loop_is_refused(root: Path) -> None:
    (root / "train/owl").symlink_to(root / "train/cat")
    assert source(root).read().y_train.tolist() == [0, 0, 1, 1, 2, 2]
    (root / "train/dog/again").symlink_to(root / "train/dog")
    with pytest.raises(CosweepError, match=r"dog/again is a link to a folder of the same class; remove the link"):
        source(root).read()


def test_a_class_that_is_not_held_out_is_told(root: Path) -> None:
    write_folder(root, "train", images(1), ["owl"])
    assert source(root).read().notes == (f"{root / 'test'} has no images of 1 class folder: owl",)


def test_other_splits_are_told_and_can_be_chosen(root: Path) -> None:
    write_folder(root, "val", images(3, seed=3), ["cat", "dog", "dog"])
    dataset = source(root).read()
    assert dataset.y_test.tolist() == [0, 1]
    assert "trains on train, holds out test; not used: val" in dataset.notes[0]
    assert source(root, split=SplitSpec(test="val")).read().y_test.tolist() == [0, 1, 1]
    swapped = source(root, split=SplitSpec(train="val", test="train")).read()
    assert (len(swapped.y_train), len(swapped.y_test)) == (3, 4)
    with pytest.raises(CosweepError, match=r"no folder tset in .*trial\.data\.split\.test to one of: test, train, val"):
        source(root, split=SplitSpec(test="tset")).read()


def test_grey_images_among_coloured_ones_are_read_as_colours(root: Path) -> None:
    grey = images(1, channels=1)[0]
    (root / "train/dog/grey.png").write_bytes(png(grey))
    dataset = source(root).read()
    assert dataset.shape == (3, 8, 8)
    assert np.array_equal(dataset.x_train[-1], np.stack([grey] * 3))


def test_a_split_without_images_and_one_that_is_trained_on_are_refused(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_folder(tmp_path, split, images(4), ["a", "b", "a", "b"])
    (tmp_path / "test").mkdir()
    with pytest.raises(CosweepError, match=r"test: no images found; expected test/CLASS/\*\.png"):
        ImageFolder(root=str(tmp_path)).read()
    (tmp_path / "test").rmdir()
    with pytest.raises(CosweepError, match=r"no folder test or validation or valid in"):
        ImageFolder(root=str(tmp_path), split=SplitSpec(train="val")).read()
    with pytest.raises(SpecError, match="test: 'val' is trained on; name another split to hold out"):
        SplitSpec(train="val", test="val")


def test_a_text_that_begins_as_images_of_two_letters_do_is_no_image(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path, split, images(4), ["a", "b", "a", "b"])
    (tmp_path / "train/a/notes.txt").write_text("P5ython, BMW")
    (tmp_path / "train/a/more.txt").write_text("BMW")
    assert "left out, since neither name nor content says an image: 2 files" in " ".join(
        ImageFolder(root=str(tmp_path)).read().notes
    )
