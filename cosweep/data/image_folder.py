"""A data set of image files, one folder per class."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from PIL import Image

from cosweep.data.dataset import Dataset
from cosweep.data.decode import Example, counted, decode, kind_by_signature, listed
from cosweep.data.splits import USUAL_NAMES, SplitSpec
from cosweep.errors import CosweepError


def read_image_folder(root: Path, size: int | None, split: SplitSpec) -> Dataset:
    """Images below ``root``; classes are numbered by sorted folder name.

    Folders of classes are read at any depth, without what begins with a dot. A file is an image if its suffix
    or its first bytes say so, or if it has no suffix; others are left out, which a note says.

    Args:
        root: Folder with train/CLASS/* and test/CLASS/* (or validation/, valid/, val/), directly or below data/.
        size: Side to resize and centre-crop to; None keeps sizes, which must then agree.
        split: Which folders hold train and test images; None where the usual names do.

    Raises:
        CosweepError: If a split or a class has no images, a test class has no training images, an image lies
            beside the classes, or one cannot be decoded.
    """
    folders, notes = _splits(root, split)
    by_class = {name: {p.name: p for p in _entries(folder) if p.is_dir()} for name, folder in folders.items()}
    classes = sorted(by_class["train"])
    if not classes:
        raise CosweepError(f"{folders['train']} has no folder per class; expected train/CLASS/*.png")
    if unknown := by_class["test"].keys() - by_class["train"].keys():
        raise CosweepError(f"{folders['test']}: classes without training images: {', '.join(sorted(unknown))}")
    others: list[str] = []
    examples: dict[str, list[Example]] = {}
    for name, folder in folders.items():
        _refuse_images_beside(folder)
        examples[name] = [
            Example(file, label, str(file))
            for label, class_name in enumerate(classes)
            if class_name in by_class[name]
            for file in _images(by_class[name][class_name], others)
        ]
        if not examples[name]:
            raise CosweepError(f"{folder}: no images found; expected {folder.name}/CLASS/*.png")
    splits, found = decode(examples, size)
    if len(classes) < 2:
        raise CosweepError(f"{folders['train']}: one class alone, {classes[0]}; expected a folder for each of several")
    if others:
        notes.append(
            f"left out, since neither name nor content says an image: {counted(others, 'file')}, {listed(others)}"
        )
    if lacking := [c for c in classes if c not in by_class["test"]]:
        notes.append(f"{folders['test']} has no images of {counted(lacking, 'class folder')}: {listed(lacking)}")
    return Dataset(*splits["train"], *splits["test"], num_classes=len(classes), notes=(*notes, *found))


def _splits(root: Path, split: SplitSpec) -> tuple[dict[str, Path], list[str]]:
    """The folders of train and test, and a note on other folders beside them."""
    usual = {split.train or "train", *((split.test,) if split.test else USUAL_NAMES["test"])}
    places = [place for place in (root, root / "data") if any((place / name).is_dir() for name in usual)]
    place = places[0] if places else root
    found = {p.name for p in _entries(place) if p.is_dir()} if place.is_dir() else set()
    names, notes = split.choose(found, place, "folder", "{}")
    return {role: place / name for role, name in names.items()}, notes


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without what begins with a dot."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise CosweepError(f"{folder}: cannot be read ({error.strerror})") from error


def _refuse_images_beside(folder: Path) -> None:
    beside = [entry for entry in _entries(folder) if not entry.is_dir() and _is_image(entry)]
    if beside:
        raise CosweepError(
            f"{folder}: {counted(beside, 'image')} beside the folders of classes: {listed(beside)}; "
            "move each into its class's folder, or away"
        )


def _images(folder: Path, others: list[str]) -> list[Path]:
    """All images of a class, at any depth; what is none is added to ``others``.

    Raises:
        CosweepError: If there are none, or a folder stands there twice, by a link.
    """
    images: list[Path] = []
    seen: set[Path] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        if (real := current.resolve()) in seen:
            raise CosweepError(f"{current} is a link to a folder of the same class; remove the link")
        seen.add(real)
        entries = _entries(current)
        for file in (entry for entry in entries if not entry.is_dir()):
            if _is_image(file):
                images.append(file)
            else:
                others.append(str(file))
        waiting += reversed([entry for entry in entries if entry.is_dir()])
    if not images:
        raise CosweepError(f"{folder}: a class without images; add them, or remove the folder")
    return images


_BRIEFLY_SIGNED = ("BMP", "PPM")
"""Kinds whose files begin with two letters, as many a text does."""


def _is_image(file: Path) -> bool:
    """Whether a file is an image by its suffix or its first bytes; one without a suffix is taken for one.

    Raises:
        CosweepError: If it is no regular file, such as a pipe, or a link that leads nowhere.
    """
    if not file.is_file():
        text = "a link that leads nowhere" if file.is_symlink() and not file.exists() else "not a regular file"
        raise CosweepError(f"{file}: {text}; put the image there, or remove it")
    Image.init()
    by_name, _ = mimetypes.guess_type(file.name, strict=False)
    if not file.suffix or file.suffix.lower() in Image.registered_extensions() or f"{by_name}".startswith("image/"):
        return True
    try:
        with file.open("rb") as opened:
            return kind_by_signature(opened.read(16)) not in (None, *_BRIEFLY_SIGNED)
    except OSError as error:
        raise CosweepError(f"{file}: cannot be read ({error.strerror})") from error
