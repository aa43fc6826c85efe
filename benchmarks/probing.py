"""What probing by budget costs and finds, beside probes at a fixed rate.

    python benchmarks/probing.py [--seeds 2] [--methods fgsm,rs_fgsm,...]

Trains each digits training three times: probed every 11 steps, every 10 steps, and as the defaults have it: on a
budget, with a look where training shows more abnormal examples. The states and breaking points at the two fixed rates
differ as well, which says how sharp a breaking point is. Prints two Markdown tables; seconds are of one core.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import torch

from cosweep.methods import METHODS
from cosweep.training import TrialRun, TrialSpec, run_trial
from cosweep.wording import counted

RATES: dict[str, int | None] = {"every 11": 11, "every 10": 10, "budget": None}
FGSM = [(48, 24), (64, 32), (64, 48), (72, 16), (80, 16), (80, 24), (80, 96), (96, 0)]
OTHERS = [(80, 32), (112, 32)]
NEAR = 11
"""Steps by which two breaking points may differ and count as the same."""


@dataclass
class Trained:
    """A finished training, with the seconds of its parts."""

    run: TrialRun
    seconds: float

    @property
    def found(self) -> str:
        """State and breaking point."""
        verdict = self.run.verdict
        return f"{verdict.state}" + (f" {verdict.co_step}" if verdict.co else "")


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, seeds 0 to {options.seeds - 1}\n")
    print("| method | epsilon | beta | seed |", " | ".join(RATES), "| probes |\n|---|---|---|---|---|---|---|---|")
    rows: list[dict[str, Trained]] = []
    for method in options.methods:
        for epsilon, beta in FGSM if method == "fgsm" else OTHERS:
            for seed in range(options.seeds):
                row = {rate: trained(method, epsilon, beta, seed, every) for rate, every in RATES.items()}
                rows.append(row)
                told = " | ".join(made.found for made in row.values())
                probes = " / ".join(str(len(made.run.curve)) for made in row.values())
                print(f"| `{method}` | {epsilon} | {beta} | {seed} | {told} | {probes} |", flush=True)
    print(f"\nAgainst probes every 11 steps, of {counted(len(rows), 'training')}:\n")
    print(
        "| rate | broken in both | of these within 11 steps | broken in one only | probing / training | core seconds |"
    )
    print("|---|---|---|---|---|---|")
    for rate in RATES:
        print(f"| {rate} | {summary(rows, rate)} |")


def trained(method: str, epsilon: int, beta: int, seed: int, every: int | None) -> Trained:
    """Train the quickstart's network."""
    spec = {
        "interventions": [{"kind": "inject", "beta": f"{beta}/255"}] if beta else [],
        "method": {"name": method, "epsilon": f"{epsilon}/255"},
        "probe": {"every": every},
        "seed": seed,
    }
    run = run_trial(TrialSpec.from_dict(spec))
    start = time.process_time()
    for _ in run:
        pass
    return Trained(run, time.process_time() - start)


def summary(rows: list[dict[str, Trained]], rate: str) -> str:
    """Cells of a rate beside the first rate."""
    pairs = [(row["every 11"].run.verdict, row[rate].run.verdict) for row in rows]
    both = [(a.co_step, b.co_step) for a, b in pairs if a.co_step is not None and b.co_step is not None]
    near = sum(abs(a - b) <= NEAR for a, b in both)
    one = sum(a.co != b.co for a, b in pairs)
    shares = [row[rate].run.timings.probe_seconds / row[rate].run.timings.train_seconds for row in rows]
    ratio = statistics.median(row[rate].seconds / row["every 11"].seconds for row in rows)
    return f"{len(both)} | {near} | {one} | {statistics.median(shares):.2f} | {ratio:.2f}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    shown = [name for name, method in METHODS.items() if method.shows_start]
    parser.add_argument("--methods", type=lambda text: text.split(","), default=shown)
    return parser.parse_args()


if __name__ == "__main__":
    main()
