"""Parquet files as hubs lay them out, their shards, and the labels in them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosweep.data.sources import ImageParquet
from cosweep.data.splits import SplitSpec
from cosweep.errors import CosweepError
from tests.data.image_files import images, write_parquet


def source(root: Path, **options: object) -> ImageParquet:
    return ImageParquet(root=str(root), **options)  # type: ignore[arg-type]


def write(root: Path, *names: str, labels: Sequence[int] = (0, 1), class_names: Sequence[str] | None = None) -> None:
    """A file of each name with an image for each label, and the metadata of a hub if classes have names."""
    for number, name in enumerate(names):
        write_parquet(root / name, images(len(labels), seed=number), labels)
        if class_names is not None:
            features = {"image": {"_type": "Image"}, "label": {"names": list(class_names), "_type": "ClassLabel"}}
            table = pq.read_table(root / name)
            metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
            pq.write_table(table.replace_schema_metadata(metadata), root / name)


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["train.parquet"], ["test.parquet"]),
        (["train_0.parquet", "train_1.parquet"], ["val.parquet"]),
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], ["data/test-0.parquet"]),
        (["train-00000-of-00002-0f1e2d3c.parquet", "train-00001-of-00002-a1b2c3d4.parquet"], ["test.parquet"]),
        (["default/train/0000.parquet", "default/train/0001.parquet"], ["default/test/0000.parquet"]),
        (["train/0000.parquet", "train/0001.parquet"], ["validation/0000.parquet"]),
        (["plain_text/train-00000-of-00001.parquet"], ["plain_text/test-00000-of-00001.parquet"]),
        (["train/part-00000-ab-c000.snappy.parquet", "train/part-00001-ab-c000.snappy.parquet"], ["test/x.parquet"]),
        (["train/cats.parquet", "train/dogs.parquet"], ["test/all.parquet"]),
        ([f"train_{number}.parquet" for number in range(11)], ["test.snappy.parquet"]),
        (["train.parquet/part.0.parquet", "train.parquet/part.1.parquet"], ["test.parquet/part.0.parquet"]),
        (["train_2019.parquet", "train_2021.parquet"], ["test_2020.parquet"]),
        (["train-00001-of-00002.parquet", "train-00002-of-00002.parquet"], ["test.parquet"]),
    ],
)
def test_the_layouts_of_hubs_are_read_whole(tmp_path: Path, train: list[str], test: list[str]) -> None:
    write(tmp_path, *train)
    write(tmp_path, *test)
    dataset = source(tmp_path).read()
    assert (len(dataset.y_train), len(dataset.y_test)) == (2 * len(train), 2 * len(test))
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train-00000-of-00003", "train-00001-of-00003"],
            r"split train has 2 files, such as train-00000-of-00003.parquet, and lacks number 2;",
        ),
        (["train-00001-of-00003", "train-00003-of-00003"], r"and lacks number 2;"),
        (["train-00000-of-00003"], r"has 1 file, .* and lacks number 1, 2;"),
        (["train-00000-of-99999999999"], r"lacks number 1, 2, 3, 4, 5 and 1 more;"),
        (["train/0000", "train/0002"], r"split train has 2 files, such as 0000\.parquet, and lacks number 1;"),
        (["train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"], "were not written together"),
        (["train-00000-of-00001-aaaa", "train-00000-of-00001-bbbb"], "were not written together"),
        (["train", "train-00000-of-00001"], "were not written together"),
        (["train_1", "train_01"], "were not written together"),
        (["train", "train.snappy"], "were not written together"),
        (["train/0000", "train-00000-of-00001"], "were not written together"),
        (["train/part-0-aa", "train/part-0-bb"], "were not written together"),
        (["full/train", "cropped/train"], r"several data sets with a split train, in .*cropped, .*full; set trial"),
        (["train", "data/train"], "several data sets with a split train"),
        (
            ["train_batch_1"],
            r"no file train\.parquet in .* or trial\.data\.split\.train to one of: test, train_batch",
        ),
        (["partial-train/0000"], r"trial\.data\.split\.train to one of: partial-train, test"),
    ],
)
def test_shards_that_are_missing_or_there_twice_are_named(tmp_path: Path, names: list[str], message: str) -> None:
    write(tmp_path, *(f"{name}.parquet" for name in names), "test.parquet")
    if names[0].startswith("full"):
        write(tmp_path, "full/test.parquet", "cropped/test.parquet")
    with pytest.raises(CosweepError, match=message):
        source(tmp_path).read()


def test_other_splits_are_told_and_can_be_chosen(tmp_path: Path) -> None:
    write(tmp_path, "data/train-00000-of-00001.parquet", "data/extra-00000-of-00001.parquet", labels=[0, 1, 2])
    write(tmp_path, "data/validation-00000-of-00001.parquet", labels=[2, 1])
    write(tmp_path, "data/test-00000-of-00001.parquet", labels=[-1, -1])
    with pytest.raises(CosweepError, match=r"test-.*, row 0: label .* got -1 in split test; .*trial\.data\.split"):
        source(tmp_path).read()
    dataset = source(tmp_path, split=SplitSpec(test="validation")).read()
    assert dataset.y_test.tolist() == [2, 1]
    assert "trains on train, holds out validation; not used: extra, test" in dataset.notes[0]
    assert len(source(tmp_path, split=SplitSpec(train="extra", test="validation")).read().y_train) == 3


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "train.parquet", "test.parquet", ".cache/train.parquet", ".train_0.parquet")
    assert len(source(tmp_path).read().y_train) == 2


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, "test.parquet")
    os.mkfifo(tmp_path / "train.parquet")
    with pytest.raises(CosweepError, match=r"train\.parquet: not a regular file"):
        source(tmp_path).read()


# --- labels ----------------------------------------------------------------------------------------------------------


def test_classes_that_have_names_count_if_they_have_no_images(tmp_path: Path) -> None:
    write(tmp_path, "train.parquet", "test.parquet", labels=range(9), class_names="abcdefghij")
    assert source(tmp_path).read().num_classes == 10


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (range(1, 11), range(1, 11), r"split train: 10 different labels from 1 to 10 .*; expected all of 0 to K - 1"),
        ([0, 1, 10**9], [0], r"3 different labels from 0 to 1000000000 \(in .*train\.parquet, row 2\)"),
        ([0, 5, 9], [0], r"3 different labels from 0 to 9 .*trial\.data\.classes if some have no images"),
        ([0, 1], [1, 10**9], r"test\.parquet, row 1: label 1000000000 in .*split test; there are 2 classes, 0 to 1"),
        ([0, -1], [0], r"train\.parquet, row 1: label must be a whole number from 0, got -1 in split train"),
        ([0, 0], [0], "split train: one class alone; expected labels of several"),
    ],
)
def test_labels_that_are_no_numbers_of_classes_are_refused(
    tmp_path: Path, train: Sequence[int], test: Sequence[int], message: str
) -> None:
    write(tmp_path, "train.parquet", labels=train)
    write(tmp_path, "test.parquet", labels=test)
    with pytest.raises(CosweepError, match=message):
        source(tmp_path).read()


def test_the_number_of_classes_can_be_given(tmp_path: Path) -> None:
    write(tmp_path, "train.parquet", labels=[0, 5, 9])
    write(tmp_path, "test.parquet", labels=[5, 9])
    dataset = source(tmp_path, classes=10).read()
    assert (dataset.num_classes, dataset.y_train.tolist()) == (10, [0, 5, 9])
    assert "split test: no images of 1 label of training: 0" in dataset.notes[0]
    with pytest.raises(CosweepError, match=r"row 2: label 9 in .*split train; there are 9 classes, 0 to 8"):
        source(tmp_path, classes=9).read()


@pytest.mark.parametrize("options", [{}, {"classes": 4}])
def test_a_class_that_is_only_held_out_is_refused(tmp_path: Path, options: dict[str, int]) -> None:
    write(tmp_path, "train.parquet", labels=[0, 1], class_names=None if options else "abc")
    write(tmp_path, "test.parquet", labels=[0, 2], class_names=None if options else "abc")
    if options:
        write(tmp_path, "train.parquet", labels=[0, 1])
    with pytest.raises(CosweepError, match=r"split test: labels without training images: 2, first in .*row 1"):
        source(tmp_path, **options).read()


def test_splits_that_name_other_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train.parquet", class_names=["cat", "dog"])
    write(tmp_path, "test.parquet", class_names=["dog", "cat"])
    with pytest.raises(CosweepError, match="name other classes; they are not of one data set"):
        source(tmp_path).read()
    write(tmp_path, "train-0.parquet", class_names=["cat", "dog"])
    write(tmp_path, "train-1.parquet", class_names=["dog", "cat"])
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(CosweepError, match=r"train-1\.parquet: names other classes than .*train-0\.parquet"):
        source(tmp_path).read()


@pytest.mark.parametrize("metadata", [b"{", b"[1]", b'{"info": 3}', b"[" * 100_000, b'{"info": {"features": []}}'])
def test_metadata_that_make_no_sense_name_no_classes(tmp_path: Path, metadata: bytes) -> None:
    write(tmp_path, "train.parquet", "test.parquet")
    for name in ("train", "test"):
        table = pq.read_table(tmp_path / f"{name}.parquet")
        pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), tmp_path / f"{name}.parquet")
    assert source(tmp_path).read().num_classes == 2


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_page_that_is_damaged_is_told_by_the_name_of_its_file(tmp_path: Path) -> None:
    write(tmp_path, "train.parquet", "test.parquet")
    content = bytearray((tmp_path / "train.parquet").read_bytes())
    for place in range(4, len(content) // 3):
        content[place] ^= 0xFF
    (tmp_path / "train.parquet").write_bytes(bytes(content))
    with pytest.raises(CosweepError, match=r"^\S*train\.parquet: not a readable Parquet file \(.+\); fetch it again$"):
        source(tmp_path).read()


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "test.parquet")
    kind = pa.struct([("bytes", pa.binary())])
    pq.write_table(
        pa.table({"image": pa.array([], kind), "label": pa.array([], pa.int64())}), tmp_path / "train.parquet"
    )
    with pytest.raises(CosweepError, match="split train: no images found"):
        source(tmp_path).read()


def test_grey_held_out_images_beside_coloured_ones_become_colours(tmp_path: Path) -> None:
    write(tmp_path, "train.parquet")
    write_parquet(tmp_path / "test.parquet", images(2, channels=1), [0, 1])
    assert source(tmp_path).read().x_test.shape == (2, 3, 8, 8)
