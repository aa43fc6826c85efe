"""Whether a trial fits the cluster."""

from __future__ import annotations

import pytest

from cosweep.cluster.machines import Node, concurrent_trials, connected
from cosweep.definition.sweep import ResourcesSpec
from cosweep.errors import CosweepError, SpecError


@pytest.mark.parametrize(
    ("cpu", "gpu", "nodes", "expected"),
    [
        (1, 0, [Node(2, 0)], 2),
        (0.1, 0, [Node(1, 0)], 10),
        (2, 0, [Node(3, 0), Node(1, 0)], 1),
        (1, 0.25, [Node(16, 2), Node(64, 0)], 8),
        (4, 0.25, [Node(8, 4)], 2),
    ],
)
def test_trials_at_once_are_counted_node_by_node(cpu: float, gpu: float, nodes: list[Node], expected: int) -> None:
    assert concurrent_trials(ResourcesSpec(cpu=cpu, gpu=gpu), nodes) == expected


@pytest.mark.parametrize(
    ("workers", "gpu", "nodes", "expected"),
    [
        (2, 0, [Node(2, 0)], 1),
        (2, 0, [Node(3, 0), Node(1, 0)], 2),
        (4, 0, [Node(2, 0), Node(3, 0)], 1),
        (2, 1, [Node(16, 1), Node(16, 2), Node(64, 0)], 1),
    ],
)
def test_trials_of_several_workers_are_counted_by_the_places_for_their_workers(
    workers: int, gpu: int, nodes: list[Node], expected: int
) -> None:
    assert concurrent_trials(ResourcesSpec(workers=workers, gpu=gpu), nodes) == expected


def test_a_trial_of_more_workers_than_there_are_places_is_refused_with_the_numbers() -> None:
    message = "asks for 4 workers of 1 CPU and 0 GPUs; the 2 machines have places for 3 at once"
    with pytest.raises(CosweepError, match=message):
        concurrent_trials(ResourcesSpec(workers=4), [Node(2, 0), Node(1, 0)])


@pytest.mark.parametrize("gpu", [0.5, 2])
def test_each_of_several_workers_has_one_whole_device_or_none(gpu: float) -> None:
    with pytest.raises(SpecError, match=f"trains on one whole device: write 0 or 1, got {gpu}"):
        ResourcesSpec(workers=2, gpu=gpu)
    assert ResourcesSpec(workers=1, gpu=gpu).gpu == gpu


@pytest.mark.parametrize(
    ("cpu", "gpu", "nodes", "asked"),
    [
        (3, 0, [Node(2, 0), Node(2, 0)], "3 CPUs and 0 GPUs"),
        (1, 1, [Node(64, 0)], "1 CPU and 1 GPU"),
        (1, 0, [], "1 CPU and 0 GPUs"),
    ],
)
def test_a_trial_that_fits_no_node_is_refused_with_the_numbers(
    cpu: float, gpu: float, nodes: list[Node], asked: str
) -> None:
    with pytest.raises(CosweepError, match=rf"asks for {asked} .* largest of {len(nodes)} has"):
        concurrent_trials(ResourcesSpec(cpu=cpu, gpu=gpu), nodes)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "is of Ray's client, through which sweeps do not run; .* name the head as HOST:6379"),
        ("head", "RAY_ADDRESS=head names no cluster; write the head's address as HOST:6379"),
        ("http://127.0.0.1:8265", "names no cluster; write the head's address"),
        ("127.0.0.1:1", "no Ray cluster at RAY_ADDRESS=127.0.0.1:1 .*refused"),
        ("[::1]:1", r"no Ray cluster at RAY_ADDRESS=\[::1\]:1 "),
    ],
)
def test_an_address_without_a_cluster_is_one_message(
    monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(CosweepError, match=message), connected():
        pytest.fail("connected")
