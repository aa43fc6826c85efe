"""What a sweep would do and cost, without running it."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from cosweep.analysis.values import format_value
from cosweep.cluster.machines import (
    Node,
    cluster_address,
    concurrent_trials,
    connected,
    live_nodes,
    local_node,
    places,
    processors,
)
from cosweep.data import Dataset
from cosweep.data.batches import DeviceData
from cosweep.definition.sweep import Sweep
from cosweep.results.store import Store
from cosweep.specs import canonical_json
from cosweep.sweep.agenda import finished_trials, refuse_other_data
from cosweep.sweep.earlier import why_not_counted
from cosweep.sweep.progress import format_seconds
from cosweep.sweep.run import load_datasets
from cosweep.training import TrialSpec
from cosweep.training.compute import ComputeSpec
from cosweep.training.examples import Examples
from cosweep.training.trainer import Trainer
from cosweep.wording import counted

_TIMED_STEPS = 3
_MOST_TIMED = 24
_MOST_VALUES = 12


def validate_sweep(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """Lines of (what, text) about a sweep that can run.

    Raises:
        CosweepError: If it cannot.
    """
    store = Store(sweep.results.root)
    store.check_writable()
    datasets = load_datasets(sweep.trials, sweep.resources)
    done = finished_trials(sweep, store)
    refuse_other_data(sweep, done, {key: dataset.fingerprint() for key, dataset in datasets.items()})
    left = [spec for spec in sweep.trials if sweep.adapts or spec.trial_id not in done]
    axes = ", ".join(f"{a.path} ({len(a.values) if a.kind == 'grid' else a.kind})" for a in sweep.axes)
    yield "sweep", f"{sweep.name}: {axes or 'one point'}"
    for column, values in varied_values(sweep.trials):
        yield "varies", f"{column}: {values}"
    for note in (*sweep.notes, *why_not_counted(sweep, store)):
        yield "note", note
    points = f" from {sweep.points:,} points" if sweep.points > len(sweep.trials) else ""
    if sweep.adapts:
        count = max(sweep.most_trials - len(done), 0)
        told = f"at most {sweep.most_trials} of a {sweep.search.kind} search, of which {len(done)} are done"
        yield "trials", f"{told}; {len(sweep.trials)} at the ends and values of its axes were checked"
    else:
        count = len(left)
        yield "trials", f"{len(sweep.trials)}{points}, of which {len(done)} are done and {len(left)} left"
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
    seconds = training_seconds(left, datasets) * (count / max(len(left), 1))
    hours = seconds / max(min(at_once, count), 1)
    at_most = "at most " if sweep.adapts else ""
    yield (
        "cost",
        f"{at_most}about {format_seconds(seconds)} of training on this machine's CPU, {format_seconds(hours)} with "
        f"{at_once} at once; probes and the final evaluation come on top, early stops come off",
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


def varied_values(specs: Sequence[TrialSpec]) -> Iterator[tuple[str, str]]:
    """Columns that differ between trials, also those that follow from others, and the values that they take."""
    values: dict[str, dict[Any, None]] = {}
    rows = [spec.flat() for spec in specs]
    for name in dict.fromkeys(name for row in rows for name in row):
        values[name] = dict.fromkeys(row.get(name) for row in rows)
    for name, taken in values.items():
        numbers = [value for value in taken if isinstance(value, (int, float))]
        if len(taken) > _MOST_VALUES and len(numbers) == len(taken):
            ends = (format_value(name, end) for end in (min(numbers), max(numbers)))
            yield name, f"{' to '.join(ends)} ({len(taken):,} values)"
        elif len(taken) > 1:
            told = ", ".join(format_value(name, value) for value in list(taken)[:_MOST_VALUES])
            yield name, told + (f", ... ({len(taken):,} values)" if len(taken) > _MOST_VALUES else "")


def _nodes() -> list[Node]:
    if cluster_address() is None:
        return [local_node()]
    with connected():
        return live_nodes()


def training_seconds(specs: list[TrialSpec], datasets: dict[str, Dataset]) -> float:
    """Seconds to train all trials to the end on one CPU thread, from a few timed steps.

    Each kind of training is timed if they are few. Else those that are timed also stand, by the seconds that they take
    for an image, for those next to them in the order of what makes a step slow.
    """
    images: Counter[tuple[Any, ...]] = Counter()
    examples: dict[tuple[Any, ...], TrialSpec] = {}
    for spec in specs:
        cost, batch_size = spec.method.cost, spec.optimizer.batch_size
        kind = (spec.data.load_key, canonical_json(spec.model.to_dict()), spec.method.name, cost, batch_size)
        steps = -(-len(datasets[spec.data.load_key].y_train) // batch_size) * spec.optimizer.epochs
        images[kind] += steps * batch_size
        examples.setdefault(kind, spec)
    kinds = sorted(examples)
    total = 0.0
    for first, end in itertools.pairwise(len(kinds) * i // _MOST_TIMED for i in range(_MOST_TIMED + 1)):
        if neighbours := kinds[first:end]:
            spec = examples[neighbours[len(neighbours) // 2]]
            seconds = _seconds_a_step(spec, datasets[spec.data.load_key]) / spec.optimizer.batch_size
            total += seconds * sum(images[kind] for kind in neighbours)
    return total


def _seconds_a_step(spec: TrialSpec, dataset: Dataset) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        device = torch.device("cpu")
        data = DeviceData(dataset, spec.data, spec.interventions, spec.seed, device)
        trainer = Trainer(replace(spec, compute=ComputeSpec()), data, device)  # which every CPU can compute
        trainer.advance()
        start = time.perf_counter()
        for _ in range(_TIMED_STEPS):
            trainer.advance()
        return (time.perf_counter() - start) / _TIMED_STEPS
    finally:
        torch.set_num_threads(threads)
