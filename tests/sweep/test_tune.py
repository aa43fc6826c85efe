"""What ends Tune."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cosweep.errors import CosweepError
from cosweep.sweep.tune import _full_disk_told


def test_a_full_disk_of_temporary_files_is_one_message_that_says_how_to_carry_on() -> None:
    message = r"^no space is left in \S+ for temporary files; make room, then carry on with: cosweep run x\.yaml$"
    with pytest.raises(CosweepError, match=message), _full_disk_told("cosweep run x.yaml"):
        Path("/dev/full").write_text("x")


def test_another_fault_of_the_system_is_not_taken_for_it() -> None:
    with pytest.raises(PermissionError), _full_disk_told("cosweep run x.yaml"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
