"""Compares CO detectors on curves with known answers; prints the tables of docs/detectors.md.

    python benchmarks/detectors.py                       the tables, from the curves that come with the package
    python benchmarks/detectors.py --collect results     makes that file anew from a results folder

Every training was run twice with the same spec but for the probe, which does not touch the training: once
with the probes a detector reads (PGD-10 on 256 images), once with strong ones (PGD-50 on all held-out
images, or 1000 of CIFAR-10's). The strong curves give the answer, in hindsight: a training is CO if PGD-50
accuracy is below ``LABEL_RATIO`` of FGSM accuracy for three consecutive strong readings while FGSM accuracy
is above twice chance and above half of clean accuracy; its onset is the first of the readings up to these that
are below half of the best PGD-50 accuracy before.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from simulation import RECORDED_CURVES

from cosweep.detection import Chance, CurveReader, Detector
from cosweep.detection.collapse import Collapse
from cosweep.detection.published import FGSMPGDGap, GradientCosine, WongDrop
from cosweep.metrics import ProbeMetrics
from cosweep.results.query import run_query
from cosweep.results.store import Store

CHANCE = Chance(classes=10)
"""Of both data sets. That of the very images probed (0.133 on digits, 0.121 on CIFAR-10) decides all of them alike."""
LABEL_RATIO = 0.18
LABEL_READINGS = 3
_COLUMNS = "sweep, method, epsilon, beta, seed, probe_pgd_steps, steps, train_seconds, probe_seconds"
_PROBE = ("step", "epoch", "clean_acc", "fgsm_acc", "pgd_acc", "grad_cos")


@dataclass(frozen=True)
class Training:
    """One training: what the detectors read, and the answer.

    Attributes:
        split: ``calibration`` or ``heldout``.
        data: ``digits`` or ``cifar10``.
        name: Method, epsilon, beta and seed.
        probes: Curve for the detectors.
        onset: First strong reading of the collapse, steps; None without CO.
        ratio: Smallest PGD-50 to FGSM ratio that ``LABEL_READINGS`` readings in a row stay at or below.
    """

    split: str
    data: str
    name: str
    probes: tuple[ProbeMetrics, ...]
    onset: int | None
    ratio: float


@dataclass(frozen=True)
class Decision:
    """What a rule said of a training: the step at which it was sure, and the onset it named."""

    decided: int
    onset: int


def collect(root: str) -> None:
    """Write the curves of the four detector sweeps to ``recorded_curves.parquet`` beside this file."""
    sql = f"""
        SELECT {", ".join(f"t.{c.strip()}" for c in _COLUMNS.split(","))}, {", ".join(f"c.{c}" for c in _PROBE)}
        FROM curves c JOIN trials t USING (trial_id, sweep)
        WHERE sweep SIMILAR TO '(calibration|heldout)_(digits|cifar10)'
        ORDER BY t.sweep, t.method, t.epsilon, t.beta, t.seed, t.probe_pgd_steps, c.step
    """
    table = run_query(Store(root), sql)
    pq.write_table(table, RECORDED_CURVES, compression="zstd")
    print(f"{table.num_rows} probes written to {RECORDED_CURVES}")


def load() -> list[Training]:
    """All trainings of the stored curves."""
    curves: dict[tuple[object, ...], dict[bool, list[ProbeMetrics]]] = {}
    for row in pq.read_table(RECORDED_CURVES).to_pylist():
        key = tuple(row[name] for name in ("sweep", "method", "epsilon", "beta", "seed"))
        probe = ProbeMetrics(**{name: row[name] for name in _PROBE})
        curves.setdefault(key, {}).setdefault(row["probe_pgd_steps"] == 50, []).append(probe)
    return [_training(key, pair[False], pair[True]) for key, pair in curves.items() if len(pair) == 2]


def _training(key: tuple[object, ...], probes: list[ProbeMetrics], strong: list[ProbeMetrics]) -> Training:
    sweep, method, epsilon, beta, seed = key
    split, data = str(sweep).split("_")
    name = f"{method} {float(str(epsilon)) * 255:.0f} {float(str(beta)) * 255:.0f} {seed}"
    return Training(split, data, name, tuple(probes), true_onset(strong), lowest_ratio(strong))


def lowest_ratio(strong: Sequence[ProbeMetrics], chance: float = CHANCE.accuracy) -> float:
    """Smallest over the strong curve of the largest PGD to FGSM ratio of ``LABEL_READINGS`` readings in a row."""
    ratios = [p.pgd_acc / p.fgsm_acc if _meaningful(p, chance) else math.inf for p in strong]
    return min(max(ratios[i : i + LABEL_READINGS]) for i in range(len(ratios) - LABEL_READINGS + 1))


def _meaningful(probe: ProbeMetrics, chance: float) -> bool:
    """Whether FGSM accuracy is high enough for its ratio to PGD accuracy to say something."""
    return probe.fgsm_acc > max(2 * chance, 0.5 * probe.clean_acc)


def true_onset(strong: Sequence[ProbeMetrics], chance: float = CHANCE.accuracy) -> int | None:
    """Step at which the strong readings begin to collapse; None if they do not."""
    run = 0
    for index, probe in enumerate(strong):
        run = run + 1 if _meaningful(probe, chance) and probe.pgd_acc < LABEL_RATIO * probe.fgsm_acc else 0
        if run == LABEL_READINGS:
            return _start_of_fall(strong, index - run + 1).step
    return None


def _start_of_fall(strong: Sequence[ProbeMetrics], collapsed: int) -> ProbeMetrics:
    """First reading of those just before a collapsed one that are below half of the best before it."""
    best = max(probe.pgd_acc for probe in strong[: collapsed + 1])
    while collapsed > 0 and strong[collapsed - 1].pgd_acc < 0.5 * best:
        collapsed -= 1
    return strong[collapsed]


def decide(rule: Detector, training: Training) -> Decision | None:
    """A rule's verdict on a training."""
    reader = CurveReader(rule, CHANCE)
    for probe in training.probes:
        verdict = reader.update(probe)
        if verdict.co_step is not None:
            return Decision(probe.step, verdict.co_step)
    return None


def errors(rule: Detector, trainings: list[Training]) -> int:
    """Misses and false alarms."""
    return sum((decide(rule, t) is None) != (t.onset is None) for t in trainings)


def recall_and_alarms(rule: Detector, trainings: list[Training]) -> tuple[float, float]:
    """Share of the CO trainings found, and of the others called CO."""
    decided = [(t.onset is not None, decide(rule, t) is not None) for t in trainings]
    found = [called for broken, called in decided if broken]
    alarms = [called for broken, called in decided if not broken]
    return sum(found) / len(found), sum(alarms) / len(alarms)


def fit(make: Callable[[float], Detector], grid: list[float], trainings: list[Training]) -> float:
    """Threshold with the largest recall minus false-alarm rate (Youden's J); the middle one of several."""
    scores = [r - a for r, a in (recall_and_alarms(make(g), trainings) for g in grid)]
    best = [g for g, score in zip(grid, scores, strict=True) if score == max(scores)]
    return best[len(best) // 2]


def rules(calibration: list[Training]) -> dict[str, Detector]:
    """The rules compared; fitted ones see the calibration curves only."""
    grid = [round(0.01 * i, 2) for i in range(2, 99)]
    gap = fit(lambda g: FGSMPGDGap(threshold=g), grid, calibration)
    cosine = fit(lambda g: GradientCosine(threshold=g), grid, calibration)
    drop = fit(lambda g: WongDrop(threshold=g), grid, calibration)
    return {
        f"collapse ({Collapse().lost:g}, {Collapse().gap:g}, {Collapse().show:g})": Collapse(),
        "PGD drop > 0.2 an epoch (published)": WongDrop(),
        f"PGD drop > {drop:g} an epoch (fitted)": WongDrop(threshold=drop),
        "FGSM-PGD gap > 0.9 (published)": FGSMPGDGap(),
        f"FGSM-PGD gap > {gap:g} (fitted)": FGSMPGDGap(threshold=gap),
        f"gradient cosine < {cosine:g} (fitted)": GradientCosine(threshold=cosine),
    }


def comparison(trainings: list[Training], compared: dict[str, Detector], title: str) -> Table:
    """Recall, false alarms, and steps from the true onset to the decision, over some trainings."""
    broken = [t for t in trainings if t.onset is not None]
    table = Table(title=f"{title}: {len(broken)} CO of {len(trainings)} trainings", title_justify="left")
    for name in ("rule", "found", "false alarms", "onset error, steps", "decision delay, steps"):
        table.add_column(name, justify="left" if name == "rule" else "right")
    for name, rule in compared.items():
        found = [(d, t.onset) for t in broken if t.onset is not None and (d := decide(rule, t)) is not None]
        alarms = sum(decide(rule, t) is not None for t in trainings if t.onset is None)
        table.add_row(
            name,
            f"{len(found)}/{len(broken)}",
            f"{alarms}/{len(trainings) - len(broken)}",
            _spread([d.onset - onset for d, onset in found]),
            _spread([d.decided - onset for d, onset in found]),
        )
    return table


def _spread(values: list[int]) -> str:
    return f"{median(values):+.0f} [{min(values):+d}, {max(values):+d}]" if values else "-"


def sensitivity(trainings: list[Training]) -> Table:
    """Errors of ``Collapse`` when each of its limits is moved, others kept."""
    table = Table(title="collapse: errors on these curves when one limit is moved", title_justify="left")
    for name in ("limit", "value", "errors"):
        table.add_column(name)
    for limit, values in {
        "lost": (0.3, 0.4, 0.5, 0.6, 0.7),
        "gap": (0.1, 0.15, 0.2, 0.25, 0.3),
        "show": (0.5, 0.6, 0.7, 0.8),
    }.items():
        for value in values:
            table.add_row(limit, f"{value:g}", str(errors(Collapse(**{limit: value}), trainings)))
    return table


def margins(trainings: list[Training]) -> Table:
    """How far the trainings stay from the limit of the label."""
    table = Table("split", "data", "largest ratio of a CO training", "smallest of another", title_justify="left")
    table.title = f"PGD-50 to FGSM ratio over {LABEL_READINGS} strong readings; CO below {LABEL_RATIO:g}"
    for split, data in dict.fromkeys((t.split, t.data) for t in trainings):
        chosen = [t for t in trainings if (t.split, t.data) == (split, data)]
        broken = max((t.ratio for t in chosen if t.onset is not None), default=math.nan)
        other = min((t.ratio for t in chosen if t.onset is None), default=math.nan)
        table.add_row(split, data, f"{broken:.2f}", f"{other:.2f}")
    return table


def disagreements(trainings: list[Training], rule: Detector) -> Table:
    """The trainings on which a rule and the answer differ."""
    table = Table("split", "data", "method epsilon beta seed", "true onset", "decision", title_justify="left")
    table.title = "where collapse and the strong curves differ"
    for t in trainings:
        decision = decide(rule, t)
        if (decision is None) != (t.onset is None):
            table.add_row(t.split, t.data, t.name, str(t.onset), "none" if decision is None else str(decision.decided))
    return table


def main() -> None:
    """Print all tables, or collect the curves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--collect", metavar="ROOT", help="results folder with the four detector sweeps")
    arguments = parser.parse_args()
    if arguments.collect:
        collect(arguments.collect)
        return
    trainings = load()
    calibration = [t for t in trainings if t.split == "calibration"]
    compared = rules(calibration)
    console = Console(width=120)
    for split in ("calibration", "heldout"):
        for data in ("digits", "cifar10"):
            chosen = [t for t in trainings if (t.split, t.data) == (split, data)]
            console.print(comparison(chosen, compared, f"{split}, {data}"))
    heldout = [t for t in trainings if t.split == "heldout"]
    console.print(comparison(heldout, compared, "heldout, all"))
    console.print(sensitivity(calibration))
    console.print(margins(trainings))
    console.print(disagreements(trainings, Collapse()))


if __name__ == "__main__":
    main()
