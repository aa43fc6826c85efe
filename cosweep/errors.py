"""Errors that a user can mend; the command line prints them without a traceback."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from cosweep.redaction import redacted

_MOST_SHOWN = 80
"""Characters of a value that a message quotes."""
_MOST_SEARCHED = 1000
"""Characters at either end of a long value that are searched for credentials; fewer are quoted."""
_MOST_OF_A_PATH = 200
_MOST_OF_A_MESSAGE = 4000


class CosweepError(Exception):
    """Base of every error that carries its own remedy in its message, and no password of an address in it."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is pickled: not by a call of its class, which need not take the message as its only argument."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(cls: type[CosweepError], arguments: tuple[Any, ...]) -> CosweepError:
    return cls.__new__(cls, *arguments)


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a definition: where it is, and what to write instead."""

    path: str
    message: str

    def __str__(self) -> str:
        path = clipped(redacted(self.path), _MOST_OF_A_PATH)
        message = clipped(redacted(self.message), _MOST_OF_A_MESSAGE)
        return f"{path}: {message}" if path else message


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
    return f"unknown {what} {shown(name)}; {nearest(name, names)}known: {', '.join(names)}"


def nearest(name: object, known: Collection[str]) -> str:
    """Question whether the known name nearest to this one was meant, or an empty text if none is near."""
    text = name if isinstance(name, str) else shown(name)
    near = difflib.get_close_matches(text[:_MOST_SHOWN], known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


class _Short(reprlib.Repr):
    """Short texts of values, in which no address is cut before its credentials are taken out."""

    def repr_str(self, text: str, level: int) -> str:
        if len(text) > 2 * _MOST_SEARCHED:
            text = redacted(text[:_MOST_SEARCHED]) + redacted(text[-_MOST_SEARCHED:])
        return super().repr_str(redacted(text), level)


_short = _Short()
_short.maxstring = _short.maxother = _MOST_SHOWN
_short.maxlist = _short.maxtuple = _short.maxdict = 12


def shown(value: object) -> str:
    """A value as a message quotes it: its ``repr``, and of a long one the beginning and how long it is."""
    text = clipped(_short.repr(value), _MOST_SHOWN)
    if isinstance(value, str) and len(value) > _MOST_SHOWN - 2:
        return f"{text} ({len(value):,} characters)"
    if isinstance(value, (list, tuple, dict)) and len(value) > _short.maxlist:
        return f"{text} ({len(value):,} entries)"
    return text


def clipped(text: str, most: int) -> str:
    """A text of at most so many characters, with dots in the middle of a longer one."""
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"
