"""Whether a trial fits the cluster."""

from __future__ import annotations

import pytest

from cosweep.errors import CosweepError
from cosweep.sweep.cluster import Node, concurrent_trials
from cosweep.sweep.definition import ResourcesSpec


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
    ("cpu", "gpu", "nodes"),
    [(3, 0, [Node(2, 0), Node(2, 0)]), (1, 1, [Node(64, 0)]), (1, 0, [])],
)
def test_a_trial_that_fits_no_node_is_refused_with_the_numbers(cpu: float, gpu: float, nodes: list[Node]) -> None:
    with pytest.raises(CosweepError, match=rf"asks for {cpu} CPUs and {gpu} GPUs .* largest of {len(nodes)} has"):
        concurrent_trials(ResourcesSpec(cpu=cpu, gpu=gpu), nodes)
