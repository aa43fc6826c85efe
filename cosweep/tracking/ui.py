"""Opening MLflow on the results, on this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO

from rich.console import Console
from rich.markup import escape

from cosweep.errors import CosweepError
from cosweep.redaction import redacted
from cosweep.results.store import Store
from cosweep.safe_path import NOBODYS_FOLDER, SAFE_PATH
from cosweep.tracking.pages import home_link, sweep_links
from cosweep.tracking.runs import SweepRuns, artifacts_folder, from_anywhere
from cosweep.tracking.tracker import mlflow_trouble, stored_uri
from cosweep.wording import at_root, counted

_HOST = "127.0.0.1"
_START_SECONDS = 180.0
_STOP_SECONDS = 10.0
# A server for one person to look at runs: no job runners, which are eight more processes, and nothing sent out.
_SERVER_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    **SAFE_PATH,
}


def serve(store: Store, sweep: str | None, port: int, console: Console) -> None:
    """Run MLflow's server on loopback until it is interrupted; for a remote store print its address.

    Without a sweep it opens on the only one, or on the list of all.

    Raises:
        CosweepError: If there is no such sweep, or several in different MLflow stores; no store; the port is taken;
            the server does not start.
    """
    names = [sweep] if sweep else store.sweeps()
    if not names:
        raise CosweepError(f"no sweeps in {store.location} yet; start one with: cosweep run FILE")
    uris = {name: stored_uri(store, name) for name in names}
    if len(set(uris.values())) > 1:
        raise CosweepError(f"the sweeps are in different MLflow stores; say which to open, of: {', '.join(names)}")
    uri = uris[names[0]]
    remote = uri.startswith(("http://", "https://"))
    if not remote:
        _refuse_taken(port)
    with console.status("reading MLflow's runs"):
        runs = {name: _runs(store, name, uri, console) for name in names}
    server = uri.rstrip("/") if remote else f"http://{_HOST}:{port}"
    if remote:
        _print_links(console, server, runs)
        return
    with _terminable(), _server(uri, port) as (process, log):
        try:
            with console.status("starting MLflow's server, which takes some 20 s"):
                _wait_until_ready(process, server, log)
            _print_links(console, server, runs)
            console.print("ready; stop with Ctrl-C")
            code = process.wait()
        except KeyboardInterrupt:
            return
        raise CosweepError(f"MLflow's server ended with exit code {code}:\n{_tail(log)}")


def _runs(store: Store, sweep: str, uri: str, console: Console) -> SweepRuns:
    """A sweep's runs; says so if MLflow lacks some of its trials."""
    try:
        runs = SweepRuns(store, sweep, uri)
        missing = runs.missing()
    except Exception as error:
        raise mlflow_trouble(store, uri, error) from error
    if missing:
        console.print(
            f"[yellow]MLflow lacks {counted(missing, 'finished trial')} of {sweep}[/]; unless it runs now: "
            f"{escape(redacted(at_root(f'cosweep sync {sweep}', store.location)))}",
            soft_wrap=True,
        )
    return runs


def _print_links(console: Console, server: str, sweeps: dict[str, SweepRuns]) -> None:
    links = {"all sweeps": home_link(server)} if len(sweeps) > 1 else {}
    for name, runs in sweeps.items():
        found = sweep_links(server, runs.experiment_id, runs.parent_id)
        links |= found if len(sweeps) == 1 else {name: found["trials"]}
    for name, link in links.items():
        console.print(f"[bold]{escape(name)}[/]  {escape(redacted(link))}", soft_wrap=True)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            reason = f"port {port} cannot be used ({error.strerror}); choose another with --port"
            raise CosweepError(reason) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and a closed terminal end the server as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _server(uri: str, port: int) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """MLflow's server with its log, in a process group of its own, which is ended whole."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", _HOST, "--port", str(port), "--uvicorn-opts", "--no-access-log"]
    folder = artifacts_folder(uri)
    if folder is not None:
        command += ["--artifacts-destination", str(folder)]
    # Not an argument, which all users of the machine can read.
    environment = {**os.environ, **_SERVER_ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": from_anywhere(uri)}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            env=environment,
            cwd=NOBODYS_FOLDER,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process, log
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _wait_until_ready(process: subprocess.Popen[bytes], server: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CosweepError(f"MLflow's server ended with exit code {process.returncode}:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(f"{server}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:  # not listening yet
            time.sleep(0.2)
    raise CosweepError(f"MLflow's server did not answer within {_START_SECONDS:.0f} s:\n{_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").splitlines()[-10:])
