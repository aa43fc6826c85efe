"""What a sweep would do and cost, without running it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from cosweep.data import Dataset
from cosweep.data.batches import DeviceData
from cosweep.results.store import Store
from cosweep.sweep.cluster import (
    Node,
    cluster_address,
    concurrent_trials,
    connected,
    live_nodes,
    local_node,
    places,
    processors,
)
from cosweep.sweep.definition import Sweep
from cosweep.sweep.earlier import why_not_counted
from cosweep.sweep.launch import finished_trials, load_datasets, refuse_other_data
from cosweep.sweep.progress import format_seconds
from cosweep.training import TrialSpec
from cosweep.training.examples import Examples
from cosweep.training.trainer import Trainer
from cosweep.wording import counted

_TIMED_STEPS = 3


def validate_sweep(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """Lines of (what, text) about a sweep that can run.

    Raises:
        CosweepError: If it cannot.
    """
    store = Store(sweep.results.root)
    store.check_writable()
    datasets = load_datasets(sweep.trials, sweep.resources.workers)
    done = finished_trials(sweep, store)
    refuse_other_data(sweep, done, {key: dataset.fingerprint() for key, dataset in datasets.items()})
    left = [spec for spec in sweep.trials if spec.trial_id not in done]
    axes = ", ".join(f"{a.path} ({len(a.values) if a.kind == 'grid' else a.kind})" for a in sweep.axes)
    yield "sweep", f"{sweep.name}: {axes or 'one point'}"
    yield "trials", f"{len(sweep.trials)}, of which {len(done)} are done and {len(left)} left"
    for note in why_not_counted(sweep, store):
        yield "note", note
    yield from _images(sweep.trials, datasets)
    nodes = _nodes()
    at_once = places(sweep.resources, nodes) if cluster_address() else concurrent_trials(sweep.resources, nodes)
    workers = sweep.resources.workers
    more = "" if at_once else " now; cosweep run --wait waits for machines"
    yield (
        "resources",
        f"{f'{workers} workers of ' if workers > 1 else ''}{processors(sweep.resources.cpu, sweep.resources.gpu)} a "
        f"trial; {counted(len(nodes), 'machine')}, {at_once} at once{more}",
    )
    seconds = training_seconds(left, datasets)
    hours = seconds / max(min(at_once, len(left)), 1)
    yield (
        "cost",
        f"about {format_seconds(seconds)} of training on this machine's CPU, {format_seconds(hours)} with {at_once} at "
        "once; probes and the final evaluation come on top, early stops come off",
    )


def _images(specs: Sequence[TrialSpec], datasets: dict[str, Dataset]) -> Iterator[tuple[str, str]]:
    """What the trials are given to train on and are measured on; and what is to be known of the files."""
    by_key: dict[str, list[TrialSpec]] = {key: [] for key in datasets}
    for spec in specs:
        by_key[spec.data.load_key].append(spec)
    for key, dataset in datasets.items():
        given = [(spec, Examples.of(spec, dataset)) for spec in by_key[key]]
        probes = _used({(spec.probe.examples, one.probe_examples_used) for spec, one in given})
        finals = _used({(spec.final.examples, one.final_examples_used) for spec, one in given})
        spec, one = given[0]
        root = getattr(spec.data, "root", None)
        yield (
            "data",
            f"{spec.data.name}{f' {root}' if root else ''}: {one.train_images:,} images to train on and "
            f"{one.test_images:,} held out, {one.image_shape} (channels x height x width), {one.num_classes} classes; "
            f"probes on {probes}, final evaluation on {finals}",
        )
        yield from (("note", text) for text in dataset.notes)


def _used(asked_and_used: set[tuple[int, int]]) -> str:
    """How many images are measured on, beside how many are asked for if these are more."""
    texts = [
        f"{used:,}" if used == asked else f"{used:,} ({asked:,} asked for)" for asked, used in sorted(asked_and_used)
    ]
    return " or ".join(texts)


def _nodes() -> list[Node]:
    if cluster_address() is None:
        return [local_node()]
    with connected():
        return live_nodes()


def training_seconds(specs: list[TrialSpec], datasets: dict[str, Dataset]) -> float:
    """Seconds to train all trials to the end on one CPU thread, from a few timed steps of each kind."""
    rates: dict[tuple[object, ...], float] = {}
    total = 0.0
    for spec in specs:
        dataset = datasets[spec.data.load_key]
        kind = (spec.data.load_key, spec.model, spec.method.name, spec.method.cost, spec.optimizer.batch_size)
        if kind not in rates:
            rates[kind] = _seconds_a_step(spec, dataset)
        steps = -(-len(dataset.y_train) // spec.optimizer.batch_size) * spec.optimizer.epochs
        total += steps * rates[kind]
    return total


def _seconds_a_step(spec: TrialSpec, dataset: Dataset) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        device = torch.device("cpu")
        data = DeviceData(dataset, spec.data, spec.interventions, spec.seed, device)
        trainer = Trainer(spec, data, device)
        trainer.advance()
        start = time.perf_counter()
        for _ in range(_TIMED_STEPS):
            trainer.advance()
        return (time.perf_counter() - start) / _TIMED_STEPS
    finally:
        torch.set_num_threads(threads)
