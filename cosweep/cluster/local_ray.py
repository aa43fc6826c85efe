"""A Ray cluster of this machine alone, closed to the network and to other users."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cosweep.cluster.scratch import scratch_folder

# Ray's sockets lie below it, and their paths may have 107 letters; so not TMPDIR, which may be long.
_SHORT = "/tmp"


@contextmanager
def private_cluster() -> Iterator[dict[str, Any]]:
    """Context with options of ``ray.init`` for a cluster that listens on loopback only, with a token of its own.

    To be entered before ``ray`` is imported, which reads the environment then.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Of any Ray: without clusters of many machines it binds its servers to 127.0.0.1, else to every address.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else Ray leaves one in the home folder, for all to read
    options = {"address": "local", "include_dashboard": False}
    if "RAY_TMPDIR" in os.environ:  # to keep Ray's logs
        yield options
        return
    # Ray lets every user write to its folders, the temporary one included; the one around it lets none in.
    with scratch_folder(_SHORT) as folder:
        yield options | {"_temp_dir": f"{folder}/ray"}


def close_token_file() -> None:
    """Let nobody else read the token that Ray keeps in the home folder, if it does; Ray writes it for all to read."""
    path = Path.home() / ".ray" / "auth_token"
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o077:
            path.chmod(0o600)
