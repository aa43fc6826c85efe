"""A data set of Parquet files with encoded images, as public hubs publish them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cosweep.data.dataset import Dataset
from cosweep.data.decode import Example, counted, decode, listed
from cosweep.data.shards import Shards, find_shards
from cosweep.data.splits import SplitSpec
from cosweep.errors import CosweepError

_IMAGE_COLUMNS, _LABEL_COLUMNS = ("image", "img"), ("label", "fine_label")
_ROWS_A_BATCH = 1024


def read_image_parquet(root: Path, size: int | None, split: SplitSpec, classes: int | None) -> Dataset:
    """Images of Parquet files below ``root``. Needs pyarrow.

    The image column is ``image`` or ``img``, a struct with the encoded ``bytes``; the label column is
    ``label`` or ``fine_label``, numbered from 0.

    Args:
        root: Folder that holds the files; :func:`cosweep.data.shards.find_shards` says how they may lie there.
        size: Side to resize and centre-crop to; None keeps sizes, which must then agree.
        split: Which splits hold train and test images; None where the usual names do.
        classes: Number of classes. None takes the class names of the files' metadata (a hub's ``ClassLabel``), and
            without these one more than the largest label, all labels below which must then be there.

    Raises:
        CosweepError: If files, shards or columns are absent, labels are not as said above or in the held-out images
            only, or an image cannot be decoded.
    """
    shards, notes = find_shards(root, split)
    train, test = (_Labels.read(shards[role]) for role in ("train", "test"))
    num_classes = classes or _num_classes(train, test)
    trained, held_out = train.present(num_classes), test.present(num_classes)
    if unknown := sorted(held_out - trained):
        raise CosweepError(
            f"{test.where}: labels without training images: {listed(unknown)}, first in {test.places[unknown[0]]}; "
            "choose other splits with trial.data.split, or leave these rows out"
        )
    if lacking := sorted(trained - held_out):
        notes.append(f"{test.where}: no images of {counted(lacking, 'label')} of training: {listed(lacking)}")
    splits, found = decode({role: _examples(some.files) for role, some in shards.items()}, size)
    if num_classes < 2:
        raise CosweepError(f"{train.where}: one class alone; expected labels of several")
    return Dataset(*splits["train"], *splits["test"], num_classes=num_classes, notes=(*notes, *found))


class _Labels(NamedTuple):
    """The labels of a split.

    Attributes:
        where: Which split it is, for messages.
        places: The different labels, each with the file and row where it is first.
        names: Of the classes, if the files tell them.
    """

    where: str
    places: Mapping[int, str]
    names: tuple[str, ...] | None

    @classmethod
    def read(cls, shards: Shards) -> _Labels:
        """Those of all files of a split, in order.

        Raises:
            CosweepError: If a label is no whole number from 0, or files have other names of classes.
        """
        places: dict[int, str] = {}
        names = None
        for number, file in enumerate(shards.files):
            with _opened(file) as opened:
                _, label = _columns(opened, file)
                named = _class_names(opened.schema_arrow, label)
                if number and named != names:
                    raise CosweepError(
                        f"{file}: names other classes than {shards.files[0]}; they are not of one data set"
                    )
                names = named
                for row, y in enumerate(_rows(opened, label)):
                    if not isinstance(y, int) or y < 0:
                        raise CosweepError(
                            f"{file}, row {row}: {label} must be a whole number from 0, got {y!r} in split "
                            f"{shards.split}; negative ones mostly mark images without a label: choose another "
                            "split with trial.data.split, or leave the rows out"
                        )
                    if y not in places:
                        places[y] = f"{file}, row {row}"
        if not places:
            raise CosweepError(f"{shards.where}: no images found")
        return cls(shards.where, places, names)

    def present(self, num_classes: int) -> set[int]:
        """The different labels.

        Raises:
            CosweepError: If one is of none of so many classes.
        """
        if (largest := max(self.places)) >= num_classes:
            raise CosweepError(
                f"{self.places[largest]}: label {largest} in {self.where}; there are {num_classes} classes, 0 to "
                f"{num_classes - 1}. Mend the label, or set trial.data.classes"
            )
        return set(self.places)


def _num_classes(train: _Labels, test: _Labels) -> int:
    if train.names != test.names:
        raise CosweepError(f"{test.where} and {train.where} name other classes; they are not of one data set")
    if train.names is not None:
        return len(train.names)
    present = sorted(train.places)
    if present != list(range(len(present))):
        raise CosweepError(
            f"{train.where}: {counted(present, 'different label')} from {present[0]} to {present[-1]} (in "
            f"{train.places[present[-1]]}); expected all of 0 to K - 1. Number the classes from 0 without gaps, or "
            "set trial.data.classes if some have no images"
        )
    return len(present)


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """Names of the classes in a hub's metadata; None without, or if they make no sense."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        names = feature["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _examples(files: Sequence[Path]) -> Iterator[Example]:
    for file in files:
        with _opened(file) as opened:
            image, label = _columns(opened, file)
            for row, (encoded, y) in enumerate(_rows(opened, image, label)):
                place = f"{file}, row {row}"
                if not isinstance(encoded, dict) or not isinstance(encoded.get("bytes"), bytes):
                    raise CosweepError(f"{place}: {image} holds no encoded image; expected a struct with bytes")
                yield Example(encoded["bytes"], y, place)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A Parquet file; what pyarrow raises while it is read becomes one message."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():  # a pipe would be waited for
        raise CosweepError(f"{file}: not a regular file, or a link that leads nowhere; put the Parquet file there")
    try:
        with pq.ParquetFile(file) as opened:
            yield opened
    except (pa.ArrowException, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        raise CosweepError(f"{file}: not a readable Parquet file ({text}); fetch it again") from error


def _columns(opened: Any, file: Path) -> tuple[str, str]:
    """Names of the columns with images and labels."""
    names = opened.schema_arrow.names
    image, label = (next((n for n in some if n in names), None) for some in (_IMAGE_COLUMNS, _LABEL_COLUMNS))
    if image is None or label is None:
        raise CosweepError(f"{file}: expected columns image (or img) and label, found {', '.join(names)}")
    return image, label


def _rows(opened: Any, *columns: str) -> Iterator[Any]:
    """Values of a column, or tuples of those of several."""
    for batch in opened.iter_batches(batch_size=_ROWS_A_BATCH, columns=list(columns)):
        values = [batch.column(name).to_pylist() for name in columns]
        yield from values[0] if len(values) == 1 else zip(*values, strict=True)
