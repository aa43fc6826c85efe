"""When a training is probed: on schedule, at once when training shows a change, and closely while one is confirmed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cosweep.training.evaluation import Prober
from cosweep.training.train_metrics import AbnormalShare
from cosweep.training.trial_spec import TrialSpec

READ_EVERY = 5
"""Steps from one reading of the training's own signal to the next; each makes a GPU wait for its queue."""
CLOSE = 11
"""Steps between probes that confirm a change, and from a probe or look to the next look."""
FEWEST = 4
"""Scheduled probes of a training, whatever its budget: fewer show no curve."""
GROWTH, MARGIN = 1.2, 0.005
"""A look is due if the share of abnormal examples is above ``GROWTH`` times its mean lately plus ``MARGIN``, and above
what it was at the last probe or look; calibrated in docs/detectors.md."""
LOOK_EXAMPLES = 64
"""Images of a look; where it looks collapsed, a probe is due at once."""


@dataclass(frozen=True)
class ProbeSchedule:
    """Decides at which steps a training is probed.

    Attributes:
        total: Steps of the whole training.
        every: Steps between scheduled probes.
        fixed: Whether there are no probes but the scheduled ones.
        trigger: Whether a rise of the share of abnormal examples may make a probe due at once.
    """

    total: int
    every: int
    fixed: bool
    trigger: bool

    @classmethod
    def of(cls, spec: TrialSpec, total: int, held_out: int) -> ProbeSchedule:
        """Schedule of a trial.

        Args:
            spec: The trial.
            total: Steps of the whole training.
            held_out: Images that can be probed.
        """
        probe = spec.probe
        if probe.every is not None:
            every = probe.every
        else:
            passes = probe.passes * min(probe.examples, held_out)
            step = sum(spec.method.cost) * spec.optimizer.batch_size
            every = max(1, min(math.ceil(passes / (probe.budget * step)), math.ceil(total / FEWEST)))
        trigger = probe.trigger
        if trigger is None:
            trigger = probe.every is None and spec.method.shows_start
        return cls(total, every, probe.every is not None, trigger)

    def due(self, step: int, *, unsettled: bool = False, stop_at: int | None = None) -> int:
        """Step of the next probe if nothing triggers one before.

        Args:
            step: The training's present one.
            unsettled: Whether the last probes show a change that others are to confirm.
            stop_at: Where the training is to end, if that is known.
        """
        due = step + self.every - step % self.every
        if not self.fixed:
            if unsettled:
                due = min(due, step + CLOSE)
            if stop_at is not None and stop_at > step:
                due = min(due, stop_at)
        return min(due, self.total)

    def reading(self, step: int, due: int) -> int:
        """Step at which to read the signal next, at most ``due``."""
        return due if not self.trigger else min(due, step + READ_EVERY - step % READ_EVERY)


class Watch:
    """Watches what training shows anyway, and looks at the model when that changes.

    Attributes:
        looker: What measures the model, on fewer images than a probe.
        step: Step of the last probe or look.
        calm: Share of abnormal examples then.
    """

    def __init__(self, prober: Prober) -> None:
        self.looker = replace(prober, x=prober.x[:LOOK_EXAMPLES], y=prober.y[:LOOK_EXAMPLES])
        self.step, self.calm = 0, 0.0

    def stirs(self, step: int, share: AbnormalShare) -> bool:
        """Whether a look is due."""
        rises = share.now > max(GROWTH * share.lately + MARGIN, self.calm)
        return rises and step - self.step >= CLOSE

    def settle(self, step: int, share: AbnormalShare) -> None:
        """Remember what training shows as calm: after a probe, or after a look that found no collapse."""
        self.step, self.calm = step, share.now
