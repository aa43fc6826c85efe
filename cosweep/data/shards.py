"""The Parquet files of a data set's splits: found in the layouts that hubs use, whole and once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cosweep.data.decode import counted, listed
from cosweep.data.splits import USUAL_NAMES, SplitSpec
from cosweep.errors import CosweepError

_DEPTHS = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
# train-00000-of-00003.parquet, train-00000-of-00003-0f1e2d3c.parquet
_OF = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)-of-(?P<count>\d+)(?:-\w+)?(?P<rest>)")
_SPARK = re.compile(r"(?P<prefix>part-)(?P<number>\d+)(?P<count>)(?P<rest>-.*)")
_COUNTED = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)(?P<count>)(?P<rest>)")  # train_0, 0000
_CODEC = re.compile(r"\.(snappy|zstd|gz|gzip|lz4|brotli)$")
_MOST_MISSING = 5


class Shards(NamedTuple):
    """The files of a split, by name."""

    split: str
    files: list[Path]

    @property
    def where(self) -> str:
        """The split and its folder, for messages."""
        return f"{self.files[0].parent}, split {self.split}"


@dataclass(frozen=True)
class _Shard:
    """A file by its name.

    Attributes:
        place: Folder of the set that it belongs to.
        split: Which it is of.
        series: Same for the files that were written together.
        number: Place in the series; None if the name has none.
        count: Length of the series, if the name tells.
    """

    file: Path
    place: Path
    split: str
    series: tuple[str, ...]
    number: int | None
    count: int | None


def find_shards(root: Path, split: SplitSpec) -> tuple[dict[str, Shards], list[str]]:
    """The files of ``train`` and ``test``, and a note on splits that are not used.

    The name of a split is that of its folder, or stands before the number in a file's name, as in
    ``train.parquet``, ``data/train-00000-of-00002.parquet``, ``default/train/0000.parquet``, ``train/part-0.parquet``.

    Args:
        root: Folder that holds the files, at most two folders deeper.
        split: Which splits hold train and test images; None where the usual names do.

    Raises:
        CosweepError: If a split is absent, lacks shards, or is there more than once.
    """
    usual = {name for names in USUAL_NAMES.values() for name in names}
    known = usual | {name for name in (split.train, split.test) if name}
    by_place: dict[Path, dict[str, list[_Shard]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(file for depth in _DEPTHS for file in root.glob(depth)):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        if not hidden and not file.is_dir():
            shard = _shard(file, root, known)
            by_place[shard.place][shard.split].append(shard)
    train = split.train or USUAL_NAMES["train"][0]
    places = sorted(place for place, splits in by_place.items() if train in splits)
    if len(places) > 1:
        raise CosweepError(
            f"{root} holds several data sets with a split {train}, in {listed(places)}; "
            "set trial.data.root to the folder of one"
        )
    place = places[0] if places else root
    found = by_place[place] if places else {name: some for splits in by_place.values() for name, some in splits.items()}
    names, notes = split.choose(found, place, "file", "{}.parquet")
    return {role: _whole(name, found[name]) for role, name in names.items()}, notes


def _shard(file: Path, root: Path, known: set[str]) -> _Shard:
    folder = file.parent
    name = _CODEC.sub("", file.stem)
    match = next((m for pattern in (_OF, _SPARK, _COUNTED) if (m := pattern.fullmatch(name))), None)
    prefix = match["prefix"] if match else name
    by_name = "" if match and match.re is _SPARK else prefix.rstrip("-_.")
    by_folder = folder.name.removesuffix(".parquet")  # train.parquet may be a folder of parts
    in_folder = folder != root and (by_folder in known or not by_name)
    return _Shard(
        file,
        place=folder.parent if in_folder else folder,
        split=by_folder if in_folder else by_name,
        series=(str(folder), prefix, match["count"], match["rest"]) if match else (str(folder if in_folder else file),),
        number=int(match["number"]) if match else None,
        count=int(match["count"]) if match and match["count"] else None,
    )


def _whole(split: str, shards: list[_Shard]) -> Shards:
    """A split's files if they are all of one series, none missing and none twice.

    Raises:
        CosweepError: If not.
    """
    first: dict[object, _Shard] = {}
    for shard in shards:
        if shard.series != shards[0].series:
            raise _twice(split, shards[0], shard)
        if shard.number is not None and shard.number in first:
            raise _twice(split, first[shard.number], shard)
        first[shard.number] = shard
    numbers = {shard.number for shard in shards if shard.number is not None}
    if missing := list(islice(_missing(numbers, shards[0].count), _MOST_MISSING + 1)):
        raise CosweepError(
            f"{shards[0].file.parent}: split {split} has {counted(shards, 'file')}, such as {shards[0].file.name}, and "
            f"lacks number {listed(missing, _MOST_MISSING)}; fetch what is missing, or rename the files if they are all"
        )
    return Shards(split, [shard.file for shard in shards])


def _twice(split: str, one: _Shard, other: _Shard) -> CosweepError:
    return CosweepError(
        f"split {split} is there more than once: {one.file} and {other.file} were not written together; "
        "keep the files of one generation"
    )


def _missing(numbers: set[int], count: int | None) -> Iterator[int]:
    """Numbers that a series from 0 or 1 lacks; one that begins elsewhere, such as with years, may have gaps."""
    if not numbers:
        return
    start = 1 if 0 not in numbers and (count is None or count in numbers) else 0
    if count is None and min(numbers) > 1:
        return
    stop = max(numbers) + 1 if count is None else count + start
    yield from (number for number in range(start, stop) if number not in numbers)
