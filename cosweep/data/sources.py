"""Data sources: where images and labels come from. Loading is the only thing that touches files."""

from __future__ import annotations

import os
import shutil
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cosweep.data.dataset import Dataset
from cosweep.data.image_folder import read_image_folder
from cosweep.data.image_parquet import read_image_parquet
from cosweep.data.splits import SplitSpec
from cosweep.errors import CosweepError, Fault, shown
from cosweep.specs import Component, number, registry, spec_hash


@dataclass(frozen=True, kw_only=True)
class Source(Component):
    """Base of the data sources.

    Attributes:
        train_examples: Train on so many examples only, the same ones for every seed; null takes all.
        augment: ``flip``, ``crop`` (4 pixels of padding), ``crop_flip`` or ``none`` (as the released injected runs).
        box: Range [low, high] that attacks keep perturbed images in; null is [0, 1] widened to what the
            intervened images reach; ``as_released`` is [0, 1], into which attacked images are clipped whole, so
            that an attack strips part of an unclipped feature and a perturbation may exceed its bound.
    """

    key: ClassVar[str] = "source"

    train_examples: int | None = number(None, low=1)
    augment: Literal["none", "flip", "crop", "crop_flip"] = "none"
    box: tuple[float, ...] | Literal["as_released"] | None = number(None, low=-1.0, high=2.0, pixels=True)

    def faults(self) -> Iterator[Fault]:
        if isinstance(self.box, tuple) and (len(self.box) != 2 or not self.box[0] <= 0 < 1 <= self.box[1]):
            yield Fault("box", f"expected [low, high] with low <= 0 and high >= 1, got {shown(list(self.box))}")

    @property
    def load_key(self) -> str:
        """Same for sources that load the same images."""
        return spec_hash(replace(self, augment="none", box=None))

    @abstractmethod
    def read(self) -> Dataset:
        """All images of the source."""

    def load(self) -> Dataset:
        """The images that a trial uses.

        Raises:
            CosweepError: If the files are absent or unreadable; says where and how to mend it.
        """
        dataset = self.read()
        if self.train_examples is None:
            return dataset
        # Sets are often sorted by class, so the first ones would be of one class.
        chosen = _shuffled(len(dataset.y_train))[: self.train_examples]
        return replace(dataset, x_train=dataset.x_train[chosen], y_train=dataset.y_train[chosen])


@dataclass(frozen=True, kw_only=True)
class Digits(Source):
    """Handwritten digits, 8x8 grey, 1437 train and 360 test; ships with cosweep."""

    name: ClassVar[str] = "digits"
    source: ClassVar[str] = "UCI Optical Recognition of Handwritten Digits (CC BY 4.0), as in scikit-learn"

    def read(self) -> Dataset:
        with np.load(Path(__file__).with_name("digits.npz")) as stored:
            x, y = stored["images"][:, None], stored["labels"].astype(np.int64)
        order = _shuffled(len(y))
        train, test = order[:1437], order[1437:]
        return Dataset(x[train], y[train], x[test], y[test], num_classes=10, max_value=16)


@dataclass(frozen=True, kw_only=True)
class ImageFiles(Source):
    """Base of the sets of image files below a folder.

    Attributes:
        root: The folder.
        size: Side to resize and centre-crop to; null keeps sizes, which must then agree.
        split: ``{train: NAME, test: NAME}``: which splits are used; null is train, and the first there is of test,
            validation, valid and val.
    """

    root: str
    size: int | None = number(None, low=1, high=8192)
    split: SplitSpec | None = None

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return Path(self.root).expanduser()


@dataclass(frozen=True, kw_only=True)
class ImageParquet(ImageFiles):
    """Parquet files as public image sets are published: image (or img) with bytes, and label.

    Attributes:
        classes: Number of classes; null takes the files' own class names (ClassLabel), or the labels, which must
            then be all of 0 to K - 1.
    """

    name: ClassVar[str] = "image_parquet"
    source: ClassVar[str] = "folder with train.parquet (or shards, or train/*.parquet), and test or validation alike"

    classes: int | None = number(None, low=2, high=100_000)

    def read(self) -> Dataset:
        return read_image_parquet(self.folder, self.size, self.split or SplitSpec(), self.classes)


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageFiles):
    """Image files, one folder per class, below train/ and test/ (or val/)."""

    name: ClassVar[str] = "image_folder"
    source: ClassVar[str] = "folder train/CLASS/*.png, test/CLASS/*.png, of any kind of image and depth"

    def read(self) -> Dataset:
        return read_image_folder(self.folder, self.size, self.split or SplitSpec())


def _shuffled(count: int) -> NDArray[np.int64]:
    """The one order of so many examples; numpy has frozen this generator's stream."""
    return np.random.RandomState(0).permutation(count)


@dataclass(frozen=True, kw_only=True)
class TorchvisionSource(Source):
    """Base of the named sets that torchvision reads, and downloads when they are absent.

    The name says what the images are, so ``root`` is no part of a trial's identity.
    """

    dataset_class: ClassVar[str]
    num_classes: ClassVar[int] = 10

    root: str | None = field(default=None, metadata={"identity": False})

    def folder(self) -> Path:
        """Where the files are, or will be downloaded to."""
        if self.root is not None:
            return Path(self.root).expanduser()
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(cache).expanduser() / "cosweep" / self.name

    def read(self) -> Dataset:
        train, test = self._split(train=True), self._split(train=False)
        return Dataset(*_arrays(train), *_arrays(test), num_classes=self.num_classes)

    def _split(self, *, train: bool) -> Any:
        import torchvision

        build = getattr(torchvision.datasets, self.dataset_class)
        which: dict[str, Any] = {"split": "train" if train else "test"} if self.name == "svhn" else {"train": train}
        folder = self.folder()
        existed = folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return build(str(folder), download=True, **which)
        except Exception as error:
            reason = " ".join(str(error).split())
            if not existed:
                shutil.rmtree(folder, ignore_errors=True)  # what the failed download left
            raise CosweepError(
                f"data source {self.name}: no usable files in {folder}, and the download failed ({reason}). "
                "On a machine with internet run cosweep validate on the same definition, and copy the folder here; "
                "or name a folder that has the files with trial.data.root"
            ) from error


def _arrays(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, C, H, W) images and (N,) labels of a torchvision set, whatever order of axes it keeps."""
    x = np.asarray(dataset.data, dtype=np.uint8)
    y = np.asarray(dataset.labels if hasattr(dataset, "labels") else dataset.targets, dtype=np.int64)
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[-1] == 3:
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x), y


@dataclass(frozen=True, kw_only=True)
class CIFAR10(TorchvisionSource):
    """CIFAR-10, 32x32 colour, 10 classes."""

    name: ClassVar[str] = "cifar10"
    source: ClassVar[str] = "Krizhevsky, 2009, through torchvision"
    dataset_class: ClassVar[str] = "CIFAR10"


@dataclass(frozen=True, kw_only=True)
class CIFAR100(TorchvisionSource):
    """CIFAR-100, 32x32 colour, 100 classes."""

    name: ClassVar[str] = "cifar100"
    source: ClassVar[str] = "Krizhevsky, 2009, through torchvision"
    dataset_class: ClassVar[str] = "CIFAR100"
    num_classes: ClassVar[int] = 100


@dataclass(frozen=True, kw_only=True)
class SVHN(TorchvisionSource):
    """Street View House Numbers, 32x32 colour, 10 classes."""

    name: ClassVar[str] = "svhn"
    source: ClassVar[str] = "Netzer et al., 2011, through torchvision"
    dataset_class: ClassVar[str] = "SVHN"


@dataclass(frozen=True, kw_only=True)
class FashionMNIST(TorchvisionSource):
    """Fashion-MNIST, 28x28 grey, 10 classes."""

    name: ClassVar[str] = "fashion_mnist"
    source: ClassVar[str] = "Xiao et al., 2017, through torchvision"
    dataset_class: ClassVar[str] = "FashionMNIST"


SOURCES: dict[str, type[Source]] = registry(
    Digits,
    CIFAR10,
    CIFAR100,
    SVHN,
    FashionMNIST,
    ImageFolder,
    ImageParquet,
)
