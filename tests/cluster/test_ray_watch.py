"""How the loss of Ray is seen; that it is told: tests/integration/test_carry_on.py."""

from __future__ import annotations

import socket
import subprocess
import sys

import psutil

from cosweep.cluster.ray_watch import answers, has_ended


def test_a_process_has_ended_before_its_parent_asks() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = psutil.Process(child.pid)
        assert not has_ended(process)
        child.kill()
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            pass
        assert has_ended(process)
        child.wait()
        assert has_ended(process)


def test_a_head_answers_while_something_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert answers(address)
    assert not answers(address)
