"""Which parts of a set of files are trained on and held out."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from cosweep.data.decode import listed
from cosweep.errors import CosweepError, Fault, shown
from cosweep.specs import Spec

USUAL_NAMES = {"train": ("train",), "test": ("test", "validation", "valid", "val")}


@dataclass(frozen=True, kw_only=True)
class SplitSpec(Spec):
    """Which splits are used, by the names that the files have.

    Attributes:
        train: To train on; null is ``train``.
        test: To hold out; null is the first there is of ``test``, ``validation``, ``valid`` and ``val`` but ``train``.
    """

    train: str | None = None
    test: str | None = None

    def faults(self) -> Iterator[Fault]:
        for f in fields(self):
            if getattr(self, f.name) == "":
                yield Fault(f.name, "is empty; name a split, or leave it out")
        if self.test == (self.train or USUAL_NAMES["train"][0]):
            yield Fault("test", f"{shown(self.test)} is trained on; name another split to hold out")

    def choose(self, found: Collection[str], root: Path, what: str, pattern: str) -> tuple[dict[str, str], list[str]]:
        """Name of the split to train on and of the held-out one, and a note on those that are not used.

        Args:
            found: Names of the splits that are there.
            root: Where, for messages.
            what, pattern: How a split looks there, such as ``folder`` and ``{}``, with ``{}`` for its name.

        Raises:
            CosweepError: If one of them is not there.
        """
        names: dict[str, str] = {}
        for role, usual in USUAL_NAMES.items():
            asked = getattr(self, role)
            # What is trained on is not held out.
            wanted = tuple(name for name in usual if name not in names.values()) if asked is None else (asked,)
            name = next((name for name in wanted if name in found), None)
            if name is None:
                there = f", or trial.data.split.{role} to one of: {listed(sorted(found), 20)}" if found else ""
                raise CosweepError(
                    f"no {what} {' or '.join(pattern.format(name) for name in wanted)} in {root.absolute()}; "
                    f"set trial.data.root to the folder that holds it{there}"
                )
            names[role] = name
        unused = sorted(set(found) - set(names.values()))
        used = f"trains on {names['train']}, holds out {names['test']}"
        note = f"{root}: {used}; not used: {listed(unused)} (trial.data.split chooses)"
        return names, [note] if unused else []
