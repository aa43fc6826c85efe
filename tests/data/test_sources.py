"""Data sources: where images come from, and what is said when they do not."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from cosweep.data.sources import CIFAR10, Digits, FashionMNIST, ImageFolder, ImageParquet
from cosweep.errors import CosweepError
from tests.data.image_files import images, write_folder, write_parquet

# --- digits ----------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn() -> None:
    ours, theirs = Digits().load(), load_digits()
    x = np.concatenate([ours.x_train, ours.x_test]).reshape(-1, 64)
    y = np.concatenate([ours.y_train, ours.y_test])
    mine = sorted((label, image.tobytes()) for image, label in zip(x, y, strict=True))
    reference = sorted(
        (label, image.tobytes()) for image, label in zip(theirs.data.astype(np.uint8), theirs.target, strict=True)
    )
    assert mine == reference


def test_digits_are_split_into_1437_and_360_without_regard_to_class() -> None:
    digits = Digits().load()
    assert (len(digits.y_train), len(digits.y_test)) == (1437, 360)
    assert digits.shape == (1, 8, 8)
    assert (digits.num_classes, digits.max_value, digits.x_train.max()) == (10, 16, 16)
    assert digits.x_train.dtype == np.dtype("uint8")
    assert digits.y_train.dtype == np.dtype("int64")
    assert np.bincount(digits.y_train, minlength=10).min() > 120
    assert np.bincount(digits.y_test, minlength=10).min() > 20


def test_train_examples_takes_some_of_every_class_and_leaves_the_test_set_whole(tmp_path: Path) -> None:
    """A folder is sorted by class, so its first examples would be of one class."""
    whole, part = Digits().load(), Digits(train_examples=100).load()
    stored = {(x.tobytes(), int(y)) for x, y in zip(whole.x_train, whole.y_train)}
    assert len(part.y_train) == 100
    assert all((x.tobytes(), int(y)) in stored for x, y in zip(part.x_train, part.y_train))
    assert np.array_equal(part.x_test, whole.x_test)
    for split in ("train", "test"):
        write_folder(tmp_path, split, images(40), ["a"] * 20 + ["b"] * 20)
    some = ImageFolder(root=str(tmp_path), train_examples=20).load()
    assert set(some.y_train.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        ({"bytes": None}, 0, "row 0: image holds no encoded image"),
        (None, 0, "row 0: image holds no encoded image"),
        ({"bytes": b"x"}, -1, "row 0: label must be a whole number from 0, got -1"),
        ({"bytes": b"x"}, None, "row 0: label must be a whole number from 0, got None"),
        ({"bytes": b"x"}, "cat", "row 0: label must be a whole number from 0, got 'cat'"),
    ],
)
def test_parquet_rows_that_are_no_examples_are_named(tmp_path: Path, image: Any, label: Any, message: str) -> None:
    kind = pa.struct([("bytes", pa.binary())])
    table = pa.table({"image": pa.array([image], kind), "label": [label]})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    with pytest.raises(CosweepError, match=message):
        ImageParquet(root=str(tmp_path)).load()


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 not really")
    write_parquet(tmp_path / "test.parquet", images(1), [0])
    with pytest.raises(CosweepError, match=r"train.parquet: not a readable Parquet file"):
        ImageParquet(root=str(tmp_path)).load()


def test_fingerprint_sees_images_labels_and_their_order() -> None:
    digits = Digits().load()
    assert digits.fingerprint() == Digits().load().fingerprint()
    assert digits.fingerprint() != Digits(train_examples=1436).load().fingerprint()
    digits.y_test[0] += 1
    assert digits.fingerprint() != Digits().load().fingerprint()


def test_load_key_is_shared_by_what_loads_the_same_images() -> None:
    assert Digits().load_key == Digits(augment="flip").load_key
    assert Digits().load_key != Digits(train_examples=5).load_key
    assert CIFAR10().load_key != FashionMNIST().load_key


# --- image Parquet ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["image", "img"])
@pytest.mark.parametrize("label", ["label", "fine_label"])
@pytest.mark.parametrize("below", ["", "data"])
@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_parquet_images_are_read_as_written(tmp_path: Path, image: str, label: str, below: str, held_out: str) -> None:
    train, test = images(5), images(3, seed=1)
    write_parquet(tmp_path / below / "train-00000-of-00002.parquet", train[:3], [0, 1, 2], image, label)
    write_parquet(tmp_path / below / "train-00001-of-00002.parquet", train[3:], [1, 0], image, label)
    write_parquet(tmp_path / below / f"{held_out}-00000-of-00001.parquet", test, [2, 0, 1], image, label)
    dataset = ImageParquet(root=str(tmp_path)).load()
    assert np.array_equal(dataset.x_train, train.transpose(0, 3, 1, 2))
    assert np.array_equal(dataset.x_test, test.transpose(0, 3, 1, 2))
    assert dataset.y_train.tolist() == [0, 1, 2, 1, 0]
    assert dataset.y_test.tolist() == [2, 0, 1]
    assert (dataset.num_classes, dataset.max_value, dataset.shape) == (3, 255, (3, 8, 8))


@pytest.mark.parametrize(
    "names", [("train.parquet",), ("train_0.parquet", "train_1.parquet"), ("train0.parquet", "train1.parquet")]
)
def test_all_files_of_a_split_are_read_however_they_are_numbered(tmp_path: Path, names: tuple[str, ...]) -> None:
    for seed, name in enumerate(names):
        write_parquet(tmp_path / name, images(2, seed=seed), [0, 1])
    write_parquet(tmp_path / "test.parquet", images(2), [0, 1])
    assert len(ImageParquet(root=str(tmp_path)).load().y_train) == 2 * len(names)


def test_grey_parquet_images_keep_one_channel(tmp_path: Path) -> None:
    grey = images(2, channels=1)
    write_parquet(tmp_path / "train.parquet", grey, [0, 1])
    write_parquet(tmp_path / "test.parquet", grey, [0, 1])
    dataset = ImageParquet(root=str(tmp_path)).load()
    assert np.array_equal(dataset.x_train, grey[:, None])


def test_parquet_without_a_known_image_column_names_those_it_has(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", images(1), [0], image="photo")
    with pytest.raises(CosweepError, match=r"train.parquet: expected columns image \(or img\) and label, found photo"):
        ImageParquet(root=str(tmp_path)).load()


def test_parquet_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": b"no image"}], "label": [0]})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    with pytest.raises(CosweepError, match=r"train.parquet, row 0: not a readable image"):
        ImageParquet(root=str(tmp_path)).load()


@pytest.mark.parametrize("source", [ImageParquet, ImageFolder])
def test_a_missing_folder_is_named(tmp_path: Path, source: type[ImageParquet] | type[ImageFolder]) -> None:
    with pytest.raises(CosweepError, match=r"absent; set trial\.data\.root"):
        source(root=str(tmp_path / "absent")).load()


def test_a_folder_without_the_test_split_is_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", images(1), [0])
    with pytest.raises(CosweepError, match=rf"no file test\.parquet or .* in {tmp_path}"):
        ImageParquet(root=str(tmp_path)).load()


# --- image folder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
def test_folder_classes_are_numbered_by_sorted_name(tmp_path: Path, held_out: str) -> None:
    train, test = images(3), images(2, seed=1)
    write_folder(tmp_path, "train", train, ["dog", "cat", "owl"])
    write_folder(tmp_path, held_out, test, ["owl", "dog"])
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    dataset = ImageFolder(root=str(tmp_path)).load()
    assert dataset.y_train.tolist() == [0, 1, 2]
    assert np.array_equal(dataset.x_train, train[[1, 0, 2]].transpose(0, 3, 1, 2))
    assert dataset.y_test.tolist() == [1, 2]
    assert np.array_equal(dataset.x_test, test[[1, 0]].transpose(0, 3, 1, 2))
    assert dataset.num_classes == 3


def test_a_train_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(CosweepError, match=r"train has no folder per class; expected train/CLASS/\*\.png"):
        ImageFolder(root=str(tmp_path)).load()


def test_a_test_folder_with_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    """Its images would be left out without a word, and the test accuracy be of another set."""
    write_folder(tmp_path, "train", images(2), ["cat", "dog"])
    write_folder(tmp_path, "test", images(3), ["cat", "dog", "owl"])
    with pytest.raises(CosweepError, match="owl"):
        ImageFolder(root=str(tmp_path)).load()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path, split, images(1), ["cat"])
    (tmp_path / "train" / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(CosweepError, match=r"broken\.png: not a readable image"):
        ImageFolder(root=str(tmp_path)).load()


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_images_of_differing_size_are_refused_with_the_remedy(tmp_path: Path) -> None:
    write_folder(tmp_path, "train", [*images(1), *images(1, height=9)], ["cat", "cat"])
    write_folder(tmp_path, "test", images(1), ["cat"])
    with pytest.raises(CosweepError, match=r"\(3, 9, 8\), the first was \(3, 8, 8\); set trial\.data\.size"):
        ImageFolder(root=str(tmp_path)).load()


@pytest.mark.parametrize(("height", "channels"), [(9, 3), (9, 1)])
def test_test_images_that_differ_from_the_training_images_are_refused(
    tmp_path: Path, height: int, channels: int
) -> None:
    write_folder(tmp_path, "train", images(2), ["cat", "dog"])
    write_folder(tmp_path, "test", images(2, height=height, channels=channels), ["cat", "dog"])
    with pytest.raises(CosweepError, match=r"\(3, 8, 8\)"):
        ImageFolder(root=str(tmp_path)).load()


def test_size_resizes_the_shorter_side_and_crops_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((1, 16, 48, 3), dtype=np.uint8)
    wide[:, :, 16:32] = 200  # a bright square in the middle, dark wings to be cropped
    write_folder(tmp_path, "train", [*wide, *images(1, height=9)], ["cat", "dog"])
    write_folder(tmp_path, "test", wide, ["cat"])
    dataset = ImageFolder(root=str(tmp_path), size=8).load()
    assert dataset.shape == (3, 8, 8)
    assert (dataset.x_train[0, :, :, 1:-1] == 200).all()


def test_size_leaves_images_of_that_size_as_they_are(tmp_path: Path) -> None:
    train = images(2)
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", train, [0, 1])
    assert np.array_equal(ImageParquet(root=str(tmp_path), size=8).load().x_train, train.transpose(0, 3, 1, 2))


# --- torchvision -----------------------------------------------------------------------------------------------------


def write_idx(file: Path, array: NDArray[np.uint8]) -> None:
    """The idx format: two zero bytes, type 8 (unsigned byte), number of axes, sizes, data."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(header + array.tobytes())


def test_fashion_mnist_is_read_from_its_raw_files(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    train, test = images(4, 28, 28, channels=1), images(2, 28, 28, channels=1, seed=1)
    write_idx(raw / "train-images-idx3-ubyte", train)
    write_idx(raw / "train-labels-idx1-ubyte", np.array([3, 1, 4, 1], dtype=np.uint8))
    write_idx(raw / "t10k-images-idx3-ubyte", test)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.array([5, 9], dtype=np.uint8))
    dataset = FashionMNIST(root=str(tmp_path)).load()
    assert np.array_equal(dataset.x_train, train[:, None])
    assert np.array_equal(dataset.x_test, test[:, None])
    assert dataset.y_train.tolist() == [3, 1, 4, 1]
    assert dataset.y_test.tolist() == [5, 9]
    assert (dataset.num_classes, dataset.shape) == (10, (1, 28, 28))


def _offline(*args: object, **kwargs: object) -> None:
    raise OSError("no route to host")


@pytest.mark.parametrize("source", [CIFAR10, FashionMNIST])
def test_an_absent_set_without_a_network_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: type[CIFAR10] | type[FashionMNIST]
) -> None:
    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", _offline)
    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", _offline)
    with pytest.raises(CosweepError, match=rf"data source {source.name}: no usable files in {tmp_path}") as caught:
        source(root=str(tmp_path)).load()
    assert "download failed" in str(caught.value)
    assert "run cosweep validate on the same definition, and copy the folder here" in str(caught.value)


def test_downloads_go_to_the_users_cache_unless_a_root_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert CIFAR10().folder() == tmp_path / "cosweep" / "cifar10"
    assert CIFAR10(root="~/sets").folder() == Path.home() / "sets"
