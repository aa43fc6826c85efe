"""The full description of a trial, and its id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from cosweep.data import INTERVENTIONS, SOURCES, Intervention, Source
from cosweep.data.sources import Digits
from cosweep.detection import DETECTORS, Detector
from cosweep.detection.collapse import Collapse
from cosweep.diagnostics import DIAGNOSTICS, Diagnostic
from cosweep.errors import Fault, shown
from cosweep.methods import METHODS, Method
from cosweep.methods.fgsm import FGSM
from cosweep.metrics import Ablation
from cosweep.models import MODELS, Model
from cosweep.models.preact_resnet import PreActResNet
from cosweep.specs import Menus, Spec, build, choice, number, plain_data, radius, spec_hash
from cosweep.training.compute import ComputeSpec
from cosweep.training.schedules import SCHEDULES
from cosweep.units import format_pixels
from cosweep.wording import counted

DEFAULT_COMPONENTS = {
    path: (type(default).key, type(default).name)
    for path, default in (
        ("data", Digits()),
        ("model", PreActResNet()),
        ("method", FGSM()),
        ("stop.co.detector", Collapse()),
    )
}
"""Key and name of the component that a place takes if a definition names none."""

MENUS: Menus = {
    Source: SOURCES,
    Intervention: INTERVENTIONS,
    Model: MODELS,
    Method: METHODS,
    Diagnostic: DIAGNOSTICS,
    Detector: DETECTORS,
}


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(Spec):
    """How the weights are trained.

    Attributes:
        name: ``sgd`` (with momentum) or ``adam``.
        lr_max: Largest learning rate of the schedule.
        momentum: Of ``sgd``.
        momentum_min: Momentum at the peak of a triangular schedule, which it reaches and leaves linearly as the rate
            does; null keeps ``momentum``. torch's CyclicLR goes down to 0.8 unless told otherwise, so that most
            published code with a "cyclic" schedule does.
        peak: Where a triangular schedule peaks, as a fraction of all steps.
        weight_decay: Added to the gradient as weight_decay * weight.
        epochs: Passes over the training examples; the short last batch is trained on as well.
    """

    name: Literal["sgd", "adam"] = "sgd"
    lr_max: float = number(0.2, above=0.0)
    momentum: float = number(0.9, low=0.0, high=0.9999)
    momentum_min: float | None = number(None, low=0.0, high=0.9999)
    weight_decay: float = number(5e-4, low=0.0)
    schedule: str = choice("triangular", SCHEDULES)
    peak: float = number(0.5, low=0.0, high=1.0)
    batch_size: int = number(64, low=1, high=1_000_000)
    epochs: int = number(25, low=1, high=1_000_000)

    def faults(self) -> Iterator[Fault]:
        if self.momentum_min is None:
            return
        if self.name != "sgd" or self.schedule != "triangular":
            text = f"needs name sgd and schedule triangular, got {self.name} and {self.schedule}; leave it out"
            yield Fault("momentum_min", text)
        elif self.momentum_min > self.momentum:
            yield Fault("momentum_min", f"must be at most momentum, {self.momentum:g}; got {self.momentum_min:g}")


_FEWEST_PGD_STEPS = 4
"""A network broken by FGSM training had PGD accuracy .82, .58 and .41 by one, two and three steps, .14 by ten."""


@dataclass(frozen=True, kw_only=True)
class ProbeSpec(Spec):
    """When and how a training is measured, on a fixed held-out set of ``examples`` images.

    Attributes:
        every: Steps between probes, at a fixed rate; null probes as often as the budget allows.
        budget: Part of the training's passes that scheduled probes may cost, but for the first four. Probes that
            confirm a change and those of the replay come on top. Not used with ``every``.
        trigger: Whether a rise of the share of abnormal training examples asks for a probe at once. Null is true
            without ``every`` if the method shows that share, else false.
        examples: Held-out images, the same for all trials.
        pgd_steps: Of the probe's PGD, alpha epsilon / 4, one restart; at least 4, since fewer do not see CO.
        grad_cos: Whether to measure the gradient cosine, for two more passes.
        diagnostics: What to measure besides, at every ``diagnostic_every``-th probe.
        diagnostic_limit: Passes that the diagnostics may cost, as a multiple of the training's in the same time.
        snapshots: Held-out images whose perturbations before and after the breaking point are kept.
    """

    every: int | None = number(None, low=1)
    budget: float = number(0.1, above=0.0, high=1.0)
    trigger: bool | None = None
    examples: int = number(256, low=1)
    pgd_steps: int = number(10, low=1)
    grad_cos: bool = True
    diagnostics: tuple[Diagnostic, ...] = ()
    diagnostic_every: int = number(1, low=1)
    diagnostic_limit: float = number(1.0, above=0.0)
    snapshots: int = number(0, low=0, high=1000)

    @property
    def passes(self) -> int:
        """Forward and backward passes through the network that a probe costs at most, for each image."""
        return 2 + 1 + (2 * self.pgd_steps + 2) + 2 * self.grad_cos

    def faults(self) -> Iterator[Fault]:
        if self.pgd_steps < _FEWEST_PGD_STEPS:
            text = f"fewer than {_FEWEST_PGD_STEPS} steps do not see CO and call broken networks healthy; write 10"
            yield Fault("pgd_steps", f"must be at least {_FEWEST_PGD_STEPS}, got {self.pgd_steps}: {text}")
        names = [diagnostic.name for diagnostic in self.diagnostics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield Fault("diagnostics", f"{', '.join(twice)} stands there twice; leave one")


@dataclass(frozen=True, kw_only=True)
class FinalSpec(Spec):
    """The robust evaluation at the end.

    Attributes:
        attack: ``pgd``, or ``autoattack``: APGD-CE, APGD-T and Square.
        steps: Of PGD; AutoAttack has its own.
        alpha: Of PGD, on the pixel scale; null takes that of the probes.
        restarts: Random ones, of PGD.
        examples: Held-out images.
        on: Which images to evaluate on: as trained on, and ablations of them.
    """

    attack: Literal["pgd", "autoattack"] = "pgd"
    steps: int = number(50, low=1)
    alpha: float | None = radius(None)
    restarts: int = number(10, low=1)
    examples: int = number(1000, low=1)
    on: tuple[Ablation, ...] = ("injected",)

    def faults(self) -> Iterator[Fault]:
        if "injected" not in self.on or len(set(self.on)) < len(self.on):
            text = f"expected injected (the images as trained on) and others at most once, got {shown(list(self.on))}"
            yield Fault("on", text)

    @property
    def label(self) -> str:
        """The attack as ``robust_attack`` names it."""
        return f"pgd-{self.steps}-{self.restarts}" if self.attack == "pgd" else "apgd_ce+apgd_t+square"


@dataclass(frozen=True, kw_only=True)
class COStopSpec(Spec):
    """Which detector decides, and for how many steps after the breaking point training goes on."""

    detector: Detector = field(default_factory=Collapse)
    after_steps: int | Literal["never"] = number(200, low=0)


@dataclass(frozen=True, kw_only=True)
class StopSpec(Spec):
    """When a trial ends early."""

    co: COStopSpec = field(default_factory=COStopSpec)


@dataclass(frozen=True, kw_only=True)
class TrialSpec(Spec):
    """One model trained once. Every field can change the outcome, and only these can."""

    data: Source = field(default_factory=Digits)
    interventions: tuple[Intervention, ...] = ()
    model: Model = field(default_factory=PreActResNet)
    method: Method = field(default_factory=FGSM)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    compute: ComputeSpec = field(default_factory=ComputeSpec)
    probe: ProbeSpec = field(default_factory=ProbeSpec)
    final: FinalSpec = field(default_factory=FinalSpec)
    stop: StopSpec = field(default_factory=StopSpec)
    seed: int = number(0, low=0)

    def faults(self) -> Iterator[Fault]:
        detector = self.stop.co.detector
        for switch in detector.needs:
            if not getattr(self.probe, switch):
                yield Fault(f"probe.{switch}", f"is false, and detector {detector.name} reads it; set it to true")
        if self.method.warmup_epochs >= self.optimizer.epochs:
            text = f"must be below optimizer.epochs, {self.optimizer.epochs}; got {self.method.warmup_epochs:g}"
            yield Fault("method.warmup_epochs", text)
        if self.probe.trigger and not self.method.shows_start:
            text = f"reads the share of abnormal examples, which training by {self.method.name} does not show"
            text = f"{text}; set it to false or leave it out"
            yield Fault("probe.trigger", text)
        if self.compute.compile and self.method.second_order:
            text = f"torch.compile has no second derivatives, which {self.method.name} takes; set it to false"
            yield Fault("compute.compile", text)
        yield from self._faults_of_final_alpha()

    def _faults_of_final_alpha(self) -> Iterator[Fault]:
        alpha, steps, epsilon = self.final.alpha, self.final.steps, self.method.epsilon
        if alpha is None:
            return
        if self.final.attack != "pgd":
            yield Fault("final.alpha", f"is of PGD, and final.attack is {self.final.attack}; leave it out")
        elif alpha * steps < epsilon * (1 - 1e-9):
            text = f"{counted(steps, 'step')} of {format_pixels(alpha)} cannot reach epsilon, {format_pixels(epsilon)}"
            yield Fault("final.alpha", f"{text}; take more steps, a larger alpha, or leave it out")

    @classmethod
    def from_dict(cls, raw: object) -> TrialSpec:
        """Spec from plain data.

        Raises:
            SpecError: With every fault of the data.
        """
        return build(cls, raw, MENUS)

    @cached_property
    def trial_id(self) -> str:
        """Short hash of the canonical JSON: same spec, same id, on every machine."""
        return spec_hash(self)

    def flat(self) -> dict[str, Any]:
        """Every scalar of the spec under its column name."""
        return flat_columns(self)


NEVER = "never"
_PREFIXED = ("data", "compute", "probe", "final", "stop")
_TAKEN = ("steps", "as_released")  # columns of a trial's outcome, or of an intervention, that an option may not hide


def flat_columns(spec: TrialSpec) -> dict[str, Any]:
    """Column name to value: leaf names, with the section before them where they would be unclear.

    A column has one type, so ``stop_co_after_steps`` is None for ``never``.

    ``intervention`` joins the kinds with ``+``. An option takes the value of the first intervention that
    has it; those after the first also have columns of their own, as ``beta_1``. ``beta`` is 0 without an
    injection.
    """
    plain = plain_data(spec, names_alone=False)
    row: dict[str, Any] = {"intervention": "+".join(i.name for i in spec.interventions) or "none"}
    for index, intervention in enumerate(plain["interventions"]):
        for name, value in intervention.items():
            if name != Intervention.key:
                row.setdefault(name, value)
            if index:
                row[column_of(("interventions", str(index), name))] = value
    row.setdefault("beta", 0.0)
    for section in ("data", "model", "method", "optimizer", "compute", "probe", "final", "stop"):
        for path, value in _leaves((section,), plain[section]):
            if path == ("stop", "co", "after_steps") and value == NEVER:
                value = None
            row[column_of(path)] = (",".join(map(str, value)) or None) if isinstance(value, list) else value
    return row | {"seed": spec.seed}


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves((*path, name), item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield path, [item["name"] for item in value]
        for index, item in enumerate(value):
            yield from _leaves((*path, str(index)), {k: v for k, v in item.items() if k != "name"})
    else:
        yield path, value


def column_of(path: tuple[str, ...]) -> str:
    """Column of ``trials`` that holds a place of the spec, such as ``("method", "epsilon")``."""
    section, *rest = path
    if section == "interventions":
        index, option = int(rest[0]) if rest else 0, rest[1] if len(rest) > 1 else Intervention.key
        name = "intervention" if option == Intervention.key else option
        return f"{name}_{index}" if index else name
    if rest and rest[-1] == "name":
        rest.pop()
    if not rest:
        return section
    prefixed = section in _PREFIXED or rest[-1] in _TAKEN
    return "_".join([section, *rest]) if prefixed else rest[-1]
