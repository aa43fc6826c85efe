"""Trials that do not train, to test and to measure what a sweep costs by itself.

No definition can ask for one and ``cosweep list`` does not know them: code passes :class:`SimulatedRun` to
``run_sweep``. Their rows say so, in ``device`` and ``data_hash``, and a real sweep refuses to carry on from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from cosweep.data import Dataset
from cosweep.detection import Chance, CurveReader
from cosweep.metrics import ProbeMetrics
from cosweep.training import TrialRun, TrialSpec
from cosweep.training.evaluation import FinalAccuracies

RECORDED_CURVES = Path(__file__).with_name("recorded_curves.parquet")
"""Probes of real trainings, by which the detectors were calibrated and compared; detectors.py beside it makes it."""
_TRAINING = ("sweep", "method", "epsilon", "beta", "seed", "probe_pgd_steps")
_PROBE = ("step", "epoch", "clean_acc", "fgsm_acc", "pgd_acc", "grad_cos")
_CHANCE = Chance(classes=10)


class SimulatedRun(TrialRun):
    """A trial whose probes were recorded from some other training; the detector judges them as they come.

    What the record lacks is 0: loss, training accuracy, learning rate and the times. There is no replay, so
    ``co_step`` is the first collapsed probe, and the final accuracy is that of the last probe.
    """

    device_name = "simulated"

    @staticmethod
    def data_hash(dataset: Dataset) -> str:
        """One that no training has, so that none carries on from such trials."""
        return f"simulated-{dataset.fingerprint()}"

    def _run(self) -> Iterator[ProbeMetrics]:
        reader = CurveReader(self.spec.stop.co.detector, _CHANCE)
        curve = drawn_curve(self.spec)
        last = curve[-1]
        self.total_steps, self.steps_per_epoch = last.step, round(last.step / last.epoch)
        for probe in curve:
            self.verdict, self.steps = reader.update(probe), probe.step
            self._decide(probe)
            if self.status is not None:
                self.final = {"injected": FinalAccuracies(probe.clean_acc, probe.pgd_acc)}
                self.robust_acc = probe.pgd_acc
            self.curve.append(probe)
            yield probe
            if self.status is not None:
                return


def drawn_curve(spec: TrialSpec) -> Sequence[ProbeMetrics]:
    """The recorded curve that a trial shows: always the same one, whatever ran before."""
    curves = recorded_curves()
    return curves[int(spec.trial_id, 16) % len(curves)]


@cache
def recorded_curves() -> tuple[tuple[ProbeMetrics, ...], ...]:
    """Every recorded curve."""
    curves: dict[tuple[object, ...], list[ProbeMetrics]] = {}
    for row in pq.read_table(RECORDED_CURVES).to_pylist():
        probe = ProbeMetrics(**{name: row[name] for name in _PROBE}, lr=0.0, train_loss=0.0, train_acc=0.0)
        curves.setdefault(tuple(row[name] for name in _TRAINING), []).append(probe)
    return tuple(map(tuple, curves.values()))
