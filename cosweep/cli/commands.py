"""The command line; its modules parse arguments and print, nothing else."""

from __future__ import annotations

# Each import adds its commands to the application, in the order in which the help lists them.
from cosweep.cli import sweep_commands  # isort: skip
from cosweep.cli import result_commands  # isort: skip
from cosweep.cli import menu_commands  # isort: skip
from cosweep.cli.app import app

__all__ = ["app", "menu_commands", "result_commands", "sweep_commands"]
