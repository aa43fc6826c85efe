"""Temporary folders: gone with their process, or cleared by the next."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cosweep.cluster.scratch import scratch_folder
from cosweep.errors import CosweepError

HOLDER = """
import sys, time
from cosweep.cluster.scratch import scratch_folder
with scratch_folder(sys.argv[1]) as folder:
    open(folder + "/file", "w").close()
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a folder, and the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_a_folder_is_private_and_goes_with_its_context(tmp_path: Path) -> None:
    with scratch_folder(str(tmp_path)) as folder:
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert [str(path) for path in tmp_path.iterdir()] == [folder]
    assert not list(tmp_path.iterdir())


def test_the_next_clears_what_a_killed_process_left_and_nothing_else(
    tmp_path: Path, holder: tuple[subprocess.Popen[str], Path]
) -> None:
    process, theirs = holder
    others = [tmp_path / "cosweep-old", tmp_path / "run-cosweep", tmp_path / "elsewhere"]
    for folder in others:
        folder.mkdir()
    (tmp_path / "cosweep-run-file").touch()
    (tmp_path / "cosweep-run-link").symlink_to(tmp_path / "elsewhere")
    with scratch_folder(str(tmp_path)), scratch_folder(str(tmp_path)) as second:
        assert (theirs / "file").exists()
        assert Path(second).exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert theirs.exists()
    with scratch_folder(str(tmp_path)):
        assert not theirs.exists()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"cosweep-old", "run-cosweep", "elsewhere", "cosweep-run-file", "cosweep-run-link"}


@pytest.mark.skipif(os.getuid() != 0, reason="needs the right to give a folder to somebody else")
def test_a_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "cosweep-run-other"
    other.mkdir()
    os.chown(other, 65534, 65534)
    with scratch_folder(str(tmp_path)):
        assert other.exists()


def test_many_that_start_and_end_at_once_do_not_take_each_others(tmp_path: Path) -> None:
    script = """
import os, sys
from cosweep.cluster.scratch import scratch_folder
for _ in range(200):
    with scratch_folder(sys.argv[1]) as folder:
        open(folder + "/file", "w").close()
        assert os.listdir(folder) == ["file"]
"""
    started = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=3_000_000))
    with (
        pytest.raises(CosweepError, match=rf"{tmp_path}, where temporary files go, has 3 MB free; make room for 50"),
        scratch_folder(str(tmp_path)),
    ):
        pytest.fail("made")
    assert not list(tmp_path.iterdir())
