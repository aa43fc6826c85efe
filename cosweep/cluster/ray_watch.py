"""Sees when Ray is lost to the driver, which Ray itself then ends, with words of its own."""

from __future__ import annotations

import os
import socket
import threading
import time
from types import TracebackType

import psutil
from rich.console import Console

from cosweep.cluster.ray_private import server_marks
from cosweep.terminal import SafeConsole

_LOOK_SECONDS = 1.0
_HEAD_LOOK_SECONDS = 10.0
_HEAD_SILENT_SECONDS = 30.0
"""Ray ends a driver whose head does not answer for 60 s."""


class RayWatch:
    """Watches Ray's servers from a thread, while it is entered with a connection to them.

    If one of this machine has ended, so does this process, at once and with exit code 1: nothing of Ray is left to be
    wound down, and what waits for it waits for long. A head on another machine may be there again; only Ray decides.

    Args:
        console: Where progress is shown; what happened goes to standard error.
        command: What carries on.
    """

    def __init__(self, console: Console, command: str) -> None:
        self._console, self._errors, self._command = console, SafeConsole(stderr=True, highlight=False), command
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cosweep-ray-watch", daemon=True)

    def __enter__(self) -> RayWatch:
        self._servers, self._head = _servers_and_head()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        heard = looked = time.monotonic()
        is_told = False
        while not self._ended.wait(_LOOK_SECONDS):
            for name, server in self._servers.items():
                if has_ended(server):
                    self._tell(f"{name} (process {server.pid}) has ended, without which Ray runs nothing here", "now")
                    self._console.show_cursor()
                    os._exit(1)
            now = time.monotonic()
            if is_told or now < looked + _HEAD_LOOK_SECONDS:
                continue
            looked = now
            if answers(self._head):
                heard = now
            elif is_told := now > heard + _HEAD_SILENT_SECONDS:
                self._tell(f"the cluster's head, {self._head}, has not answered for a while", "once Ray ends this run")

    def _tell(self, what: str, when: str) -> None:
        text = f"{what}; {when} carry on with: {self._command}"
        self._errors.print(text, markup=False, soft_wrap=True)


def _servers_and_head() -> tuple[dict[str, psutil.Process], str]:
    """Ray's processes on this machine that it cannot lose, by name, and the address of the cluster's head."""
    marks, head = server_marks()
    found = {}
    for process in psutil.process_iter(["name", "cmdline"]):
        name = process.info["name"]
        if name in marks and marks[name] in (process.info["cmdline"] or ()):
            found[name] = process
    return found, head


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or only waits for its parent to notice."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def answers(address: str) -> bool:
    """Whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _LOOK_SECONDS).close()
    except OSError:
        return False
    return True
