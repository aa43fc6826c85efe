"""Errors that a user can mend; the command line prints them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from cosweep.redaction import redacted


class CosweepError(Exception):
    """Base of every error that carries its own remedy in its message, and no password of an address in it."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a definition: where it is, and what to write instead."""

    path: str
    message: str

    def __str__(self) -> str:
        return redacted(f"{self.path}: {self.message}" if self.path else self.message)


class SpecError(CosweepError):
    """A definition that cannot be run. Carries every fault found, not only the first."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class UnknownNameError(CosweepError):
    """A name that no registry knows; the message names the nearest one and all known ones."""

    def __init__(self, what: str, name: object, known: Iterable[str]) -> None:
        super().__init__(unknown_name(what, name, known))


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Sentence that reports an unknown name, with the nearest known one if any is near."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}; {hint}known: {', '.join(names)}"
