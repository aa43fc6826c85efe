"""A folder by somebody else in which every library's name is a Python file that tells when it runs."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

SOURCE = """
import os
os.close(os.open({mark!r}, os.O_CREAT | os.O_WRONLY))
"""


def plant(folder: Path) -> Path:
    """Lay a file for each module of Python and of what is installed.

    Returns:
        The folder in which a file appears for each that ran.
    """
    marks = folder / "marks"
    marks.mkdir()
    installed = {name for name in packages_distributions() if name.isidentifier()}
    for name in sys.stdlib_module_names | installed | {"sitecustomize", "usercustomize"}:
        (folder / f"{name}.py").write_text(SOURCE.format(mark=str(marks / name)))
    return marks


def modules_that_ran(marks: Path) -> list[str]:
    """Names of the planted modules that ran."""
    return sorted(mark.name for mark in marks.iterdir())
