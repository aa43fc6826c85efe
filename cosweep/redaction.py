"""Secrets inside texts: addresses with credentials are shown, logged and kept without them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_HIDDEN = "***"
# Repeats are bounded, since a search for an unbounded one takes quadratic time.
_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]{0,63})://"
# Up to the last @: keys of stores hold slashes, which addresses should not.
_CREDENTIALS = re.compile(rf"({_SCHEME})[^\s'\"<>@]*(?::|%3A)[^\s'\"<>]*@", re.IGNORECASE)
_USER = re.compile(rf"{_SCHEME}([^\s'\"<>@/?#]+)@")
_TOKEN = re.compile(r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{16,}")
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")  # Azure's, which stand where others have a user
# Signs may be percent-encoded, more than once, in a connection string that is a parameter itself.
_BEFORE = r"(?:[?&;#=]|%(?:25)*(?:3F|26|3B|23|3D))(?:\+|%(?:25)*20)*"
_EQUALS = r"(?:=|%(?:25)*3D)"
_END = r"[&;\s'\"<>#]|%(?:25)*(?:26|3B|23)"
_NAME = r"[\w.-]{0,99}(?:secret|token|passw|credential|signature|(?:access|account|api|private)[_-]?key)[\w.-]{0,99}"
_PARAMETER = re.compile(rf"({_BEFORE}(?:{_NAME}|key|pwd|pass|sig|auth){_EQUALS})(?:(?!{_END}).)+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with credentials of the addresses in it replaced by ``***``."""
    if "://" not in text:
        return text
    for pattern, shown in ((_CREDENTIALS, rf"\g<1>{_HIDDEN}@"), (_USER, _without_token), (_PARAMETER, rf"\1{_HIDDEN}")):
        text = pattern.sub(shown, text)
    return text


def _without_token(found: re.Match[str]) -> str:
    """An address up to its ``@``, without the user if that is a token: always over HTTP, else if it looks like one."""
    scheme, user = found.groups()
    secret = scheme.lower() in ("http", "https") or (scheme.lower() not in _CONTAINERS and _TOKEN.search(user))
    return f"{scheme}://{_HIDDEN if secret else user}@"


def holds_secret(text: str) -> bool:
    """Whether :func:`redacted` would change the text."""
    return redacted(text) != text


def places_of_secrets(raw: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of the texts in nested plain data that hold a secret."""
    if isinstance(raw, str) and holds_secret(raw):
        yield path
    items = raw.items() if isinstance(raw, Mapping) else enumerate(raw) if isinstance(raw, list) else ()
    for key, value in items:
        yield from places_of_secrets(value, f"{path}.{key}" if path else str(key))
