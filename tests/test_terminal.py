"""Output that cannot be written: it is left out, told once, and changes no exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from cosweep.terminal import SafeConsole, hold_standard_streams
hold_standard_streams()
console, errors = SafeConsole(highlight=False), SafeConsole(stderr=True)
for number in range(3):
    console.print("x\\n" * 10_000 if number == 1 else number)
console.write_bytes(b"raw")
with console.status("spins"):
    pass
errors.print("went on", console.problem)
opened = open("/dev/null")
sys.exit(7 if opened.fileno() > 2 else 8)
"""
WENT_ON = "standard output cannot be written ({0}); what would stand there is left out\nwent on [Errno {1}] {0}\n"


def run(redirection: str) -> tuple[int, str]:
    """Exit code of the script and what it says on standard error."""
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirection}; exit ${{PIPESTATUS[0]}}', sys.executable, SCRIPT],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={"COLUMNS": "200", "PYTHONPATH": ":".join(sys.path)},
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("redirection", "told"),
    [
        (">/dev/full", WENT_ON.format("No space left on device", 28)),
        ("| true", WENT_ON.format("Broken pipe", 32)),
        (">&-", WENT_ON.format("Bad file descriptor", 9)),
        (">/dev/null", "went on None\n"),
        (">/dev/full 2>/dev/full", ""),
        ("<&- >&- 2>&-", ""),
    ],
)
def test_output_that_cannot_be_written_is_left_out(redirection: str, told: str) -> None:
    assert run(redirection) == (7, told)
