"""A console on which foreign text is only text: no command of it reaches the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# Controls but newline and tab, orders of writing, line separators, and halves of characters, which cannot be printed.
_COMMANDS = [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_COMMANDS += range(0xD800, 0xE000)
_VISIBLE = {code: ascii(chr(code))[1:-1] for code in _COMMANDS if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    r"""The text with characters that command a terminal, or mirror a line, written out: ``\x1b``."""
    return text.translate(_VISIBLE)


class SafeConsole(Console):
    """Rich's console; its own colours and movements stay, those in the texts it is given do not."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments to write."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
