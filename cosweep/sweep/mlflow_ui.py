"""Opening MLflow on the results."""

from __future__ import annotations

import socket
import subprocess
import sys

from rich.console import Console

from cosweep.errors import CosweepError
from cosweep.results.store import Store
from cosweep.sweep.tracking import SweepRuns, stored_uri


def serve(store: Store, sweep: str | None, port: int, console: Console) -> None:
    """Run MLflow's server on loopback until it is interrupted; for a remote store print its address.

    Raises:
        CosweepError: If there is no such sweep or several to choose from, no store, or the port is taken.
    """
    names = store.sweeps()
    if not names:
        raise CosweepError(f"no sweeps in {store.location} yet; start one with: cosweep run FILE")
    if sweep is None and len(names) > 1:
        raise CosweepError(f"say which sweep to open, one of: {', '.join(names)}")
    name = sweep or names[0]
    uri = stored_uri(store, name)
    try:
        runs = SweepRuns(store, name, uri)
    except Exception as error:
        raise CosweepError(f"MLflow at {uri}: {type(error).__name__}: {error}") from error
    page = f"/#/experiments/{runs.experiment_id}/runs"
    if uri.startswith(("http://", "https://")):
        console.print(f"MLflow: {uri.rstrip('/')}{page}", soft_wrap=True)
        return
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise CosweepError(f"port {port} is taken; choose another with --port")
    console.print(f"MLflow: http://127.0.0.1:{port}{page}  (ready in about 20 s; stop with Ctrl-C)", soft_wrap=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    if store.local_path is not None:
        command += ["--artifacts-destination", str(store.local_path / "mlartifacts")]
    try:
        subprocess.run(command, check=True)
    except KeyboardInterrupt:
        return
    except subprocess.CalledProcessError as error:
        raise CosweepError(f"MLflow's server ended with exit code {error.returncode}") from error
