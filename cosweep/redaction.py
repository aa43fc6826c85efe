"""Secrets inside texts: addresses with credentials are shown, logged and kept without them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_HIDDEN = "***"
# Up to the last @: keys of stores hold slashes, which addresses should not.
_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"<>@]*:[^\s'\"<>]*@")
_SECRET_NAME = r"[\w.-]*(?:secret|token|passw|credential|signature|(?:access|account|api|private)[_-]?key)[\w.-]*"
_PARAMETER = re.compile(rf"([?&;](?:{_SECRET_NAME}|key|pwd|sig)=)[^&;\s'\"<>#]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with credentials of the addresses in it replaced by ``***``."""
    if "://" not in text:
        return text
    return _PARAMETER.sub(rf"\g<1>{_HIDDEN}", _CREDENTIALS.sub(rf"\g<1>{_HIDDEN}@", text))


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
