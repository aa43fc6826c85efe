"""How processes are started so that no Python file of the current folder is taken for a library.

Python puts the current folder first on its path for ``-m`` and ``-c``, Ray sends it to all workers, and uvicorn puts it
on its own. A folder that was received may hold a ``statistics.py``, which would run instead of Python's.
"""

from __future__ import annotations

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Environment in which Python, and all that it starts, leaves the current folder off its path."""

NOBODYS_FOLDER = "/"
"""Where those start that put the current folder on the path all the same: only root can put a file there."""
