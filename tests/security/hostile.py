"""Texts that attack, and ways to look at what they do."""

from __future__ import annotations

from typing import Any

from cosweep.results.store import Store

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\b\u202eback\u2028[bold red]not[/] [link=http://evil]x[/link]"
SCRIPT = "</script></pre><script>window.owned=1</script><img src=x onerror=window.owned=1>\"'`{{7*7}}"


def good_record(store: Store) -> dict[str, Any]:
    return store.sweep_record("made")
