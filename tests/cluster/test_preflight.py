"""What a machine answers, and what is made of it."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cosweep import __version__
from cosweep.cluster.preflight import Answer, _faults, _oddity, _skew, answer, versions
from cosweep.results.store import Store

GOOD = Answer("host", versions(), 0.0, "", None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    made.create()
    made.write_bytes("preflight/token", b"token")
    return made


def test_a_machine_that_can_do_its_part_says_so_and_leaves_nothing(store: Store) -> None:
    told = answer(store.location, "token", count_devices=True)
    assert (told.host, told.location, told.versions["cosweep"]) == (socket.gethostname(), "", __version__)
    assert abs(told.clock - time.time()) < 5
    assert told.devices is not None
    assert list(store.files.names("preflight")) == ["token"]
    assert not list(_faults("10.0.0.2", told, store, gpu=False))


def test_a_machine_that_sees_another_place_says_so(store: Store, tmp_path: Path) -> None:
    assert "it is another place there" in answer(str(tmp_path / "elsewhere"), "token", count_devices=False).location
    store.write_bytes("preflight/token", b"other")
    assert "reads otherwise" in answer(store.location, "token", count_devices=False).location


@pytest.mark.parametrize(
    ("found", "gpu", "fault"),
    [
        (replace(GOOD, versions=GOOD.versions | {"torch": "1.0"}), False, r"10\.0\.0\.2 has torch 1\.0, the driver 2"),
        (replace(GOOD, versions={}), False, r"has cosweep absent, the driver"),
        (
            replace(GOOD, location="no such file"),
            False,
            r"machine 10.* \(no such file\); .*all machines share",
        ),
        (replace(GOOD, devices=0), True, r"offers a GPU to Ray, and torch finds no CUDA device there"),
    ],
)
def test_what_hinders_a_machine_is_named(found: Answer, gpu: bool, fault: str, store: Store) -> None:
    faults = list(_faults("10.0.0.2", found, store, gpu=gpu))
    assert re.search(fault, faults[0])


@pytest.mark.parametrize(
    ("clock", "skew"), [(100.0, 0.0), (104.0, 0.0), (105.0, 0.0), (165.0, 60.0), (40.0, -60.0), (99.0, -1.0)]
)
def test_a_clock_is_off_by_what_the_time_of_asking_does_not_explain(clock: float, skew: float) -> None:
    assert _skew(clock, 100.0, 105.0) == skew


@pytest.mark.parametrize(("skew", "said"), [(0, ""), (9, ""), (60, "60 s ahead"), (-60, "60 s behind")])
def test_a_clock_that_is_off_is_told_and_hinders_nothing(skew: float, said: str) -> None:
    assert said in _oddity("10.0.0.2", GOOD, skew)
    assert bool(_oddity("10.0.0.2", GOOD, skew)) == bool(said)
