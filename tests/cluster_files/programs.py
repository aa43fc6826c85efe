"""Programs that tests need and a machine may lack."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """Path of a program; skips the test where there is none, and fails it under CI."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return path or absent(f"no {name} on this machine; on Debian: apt-get install {package}")


def absent(reason: str) -> str:
    """Skip the test, or fail it under CI."""
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    raise AssertionError("not reached")
