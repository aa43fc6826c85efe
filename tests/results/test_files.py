"""Locks of a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cosweep.errors import CosweepError
from cosweep.results.files import BusyError, LocalFiles, NoLocksError

HOLD = """
import sys, time
from pathlib import Path
from cosweep.results.files import LocalFiles

with LocalFiles("here", Path(sys.argv[1])).exclusive("run of x", 60):
    print("in", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles("here", tmp_path)


def test_a_process_keeps_others_out_until_it_is_killed(files: LocalFiles, tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"in\n"
    busy = rf"another run of x works on here: process {holder.pid} on \S+"
    with pytest.raises(BusyError, match=busy), files.exclusive("run of x", 60, wait=True):
        pass
    with files.exclusive("run of y", 60):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with files.exclusive("run of x", 60) as still_in:
        still_in()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOLCK, NoLocksError), (errno.EOPNOTSUPP, NoLocksError), (errno.EIO, CosweepError)]
)
def test_a_file_system_without_locks_is_told_from_one_in_trouble(
    files: LocalFiles, number: int, kind: type[CosweepError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:  # this machine has no such file system
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CosweepError, match="cannot be locked") as caught, files.exclusive("run of x", 60):
        pass
    assert caught.type is kind
