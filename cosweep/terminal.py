"""A console on which foreign text is only text, and whose output may fail: no command reaches the terminal."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# Controls but newline and tab, orders of writing, line separators, and halves of characters, which cannot be printed.
_COMMANDS = [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_COMMANDS += range(0xD800, 0xE000)
_VISIBLE = {code: ascii(chr(code))[1:-1] for code in _COMMANDS if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    r"""The text with characters that command a terminal, or mirror a line, written out: ``\x1b``."""
    return text.translate(_VISIBLE)


def hold_standard_streams() -> None:
    """Put a file that takes nothing in the place of each standard stream that the process was started without.

    Else the next file that is opened, such as a database, gets the stream's number and with it what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))


class SafeConsole(Console):
    """Rich's console; its own colours and movements stay, those in the texts it is given do not.

    What cannot be written, since the disk is full or nobody reads any more, is left out, which standard error tells.

    Attributes:
        problem: Why something was left out; None if nothing was.
    """

    problem: OSError | None = None

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments to write."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def write_bytes(self, content: bytes) -> None:
        """Write to standard output as it is."""
        try:
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
        except OSError as error:
            self._leave_out(error)

    def on_broken_pipe(self) -> None:
        """Rich would end the process."""
        error = sys.exception()
        assert isinstance(error, OSError)
        self._leave_out(error)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            self._leave_out(error)

    def _leave_out(self, error: OSError) -> None:
        del self._buffer[:]
        if self.problem is not None:
            return
        self.problem = error
        atexit.register(_discard_unwritten, self.file)
        if not self.stderr:
            with suppress(OSError):
                told = f"standard output cannot be written ({error.strerror}); what would stand there is left out"
                print(told, file=sys.stderr, flush=True)


def _discard_unwritten(file: IO[str]) -> None:
    """Let go of what a stream still holds, for which Python would end with another exit code."""
    try:
        file.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
