"""Words of messages."""

from __future__ import annotations

import shlex


def counted(number: float, one: str, many: str = "") -> str:
    """A number with its noun: ``1 trial``, ``2 trials``, ``0.5 CPUs``.

    Args:
        number: How many.
        one: The noun for one.
        many: The noun for any other number; with an s if not given.
    """
    amount = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{amount} {one if number == 1 else many or f'{one}s'}"


def at_root(command: str, root: str) -> str:
    """A command on the results at ``root``, as a shell takes it."""
    return command if root == "results" else f"{command} --root {shlex.quote(root)}"
