"""The training of one model, one optimisation step at a time, from any step again."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from cosweep.data.batches import DeviceData
from cosweep.errors import SpecError
from cosweep.methods import Batch
from cosweep.models.shared_batch_norm import share_batch_norm
from cosweep.parallel import ALONE, Workers
from cosweep.seeding import RandomStream, derive_seed
from cosweep.training.compute import ComputedNetwork, capability_faults, compute_faults
from cosweep.training.schedules import SCHEDULES
from cosweep.training.train_metrics import AbnormalShare, TrainMeans, TrainMetrics
from cosweep.training.trial_spec import OptimizerSpec, TrialSpec


class Trainer:
    """Trains the model of a spec. All randomness of a step follows from the seed and the step's number.

    So a step repeats exactly from a snapshot, whatever was measured in between. Of several workers each computes its
    rows of the batch, with the random numbers that a lone one would draw for them, and all end a step with the
    same weights: those of a lone worker, up to rounding.
    """

    def __init__(self, spec: TrialSpec, data: DeviceData, device: torch.device, workers: Workers = ALONE) -> None:
        self.spec, self.data, self.workers = spec, data, workers
        if faults := [*compute_faults(spec.compute, device, workers.count), *capability_faults(spec.compute, device)]:
            raise SpecError(faults)
        if workers.count > 1:
            spec.model.check_draws_nothing(data.num_classes, data.shape)
        model = spec.model.build(data.num_classes, data.shape, data.mean, data.std, derive_seed(spec.seed, "init")).to(
            device
        )
        share_batch_norm(model, workers)
        self.model = ComputedNetwork(model, spec.compute)
        self.optimizer = _optimizer(spec.optimizer, self.model)
        batch = spec.optimizer.batch_size
        self.steps_per_epoch = -(-data.train_examples // batch)
        self.total_steps = spec.optimizer.epochs * self.steps_per_epoch
        self.step = 0
        self.lr = 0.0
        self.metrics = TrainMetrics(device)
        self._order = (-1, torch.empty(0))
        self._memory = spec.method.fresh_memory(data.train_examples, data.shape, batch, device)

    @property
    def epoch(self) -> float:
        """Epochs done, with fraction."""
        return self.step / self.steps_per_epoch

    def advance(self) -> None:
        """One optimisation step on the next batch."""
        optimizer, step = self.spec.optimizer, self.step
        # The rate at the middle of the step: a triangular schedule then wastes no step at zero.
        done = (step + 0.5) / self.total_steps
        height = SCHEDULES[optimizer.schedule](done, optimizer.peak)
        self.lr = optimizer.lr_max * height
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
            if optimizer.momentum_min is not None:
                group["momentum"] = optimizer.momentum - (optimizer.momentum - optimizer.momentum_min) * height
        method = self.spec.method.at_epoch((step + 0.5) / self.steps_per_epoch)
        number = step // method.replays
        index = self._batch_index(number)
        x, y = self.data.train_batch(index, number)
        total, rows = len(index), self.workers.rows(len(index))
        rng = RandomStream(self.spec.seed, "step", step, first_row=rows.start, total_rows=total)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self._model_draws():
            done = step / self.total_steps
            batch = Batch(x[rows], y[rows], self.data.box, rng, index[rows], self._memory, done, self.workers, total)
            loss, logits = method.backward(self.model, batch)
        self.workers.sum_gradients(self.model.parameters())
        self.optimizer.step()
        self.metrics.add(loss, logits, batch)
        self.step += 1

    @contextmanager
    def _model_draws(self) -> Iterator[None]:
        """Context in which dropout and its like draw numbers that depend on seed and step alone."""
        if not self.spec.model.draws:
            yield
            return
        devices = [self.data.device] if self.data.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(self.spec.seed, "model", self.step))
            yield

    def _batch_index(self, number: int) -> Tensor:
        """Examples of a batch; batches are numbered over all epochs."""
        epoch, position = divmod(number, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self.data.epoch_order(epoch))
        batch = self.spec.optimizer.batch_size
        return self._order[1][position * batch : (position + 1) * batch]

    def take_train_metrics(self) -> TrainMeans:
        """What the training passes showed since the last call."""
        return self.metrics.take(self.workers)

    def abnormal_share(self) -> AbnormalShare:
        """Read the share of abnormal examples in the last steps."""
        return self.metrics.abnormal_share(self.workers)

    def snapshot(self) -> dict[str, Any]:
        """Copy of everything that the next steps depend on; no generator state, since steps have none."""
        return {
            "model": copy.deepcopy(self.model.state_dict()),  # with the versions of its parts, which some ask for
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "step": self.step,
            "lr": self.lr,
            "memory": {name: value.clone() for name, value in self._memory.items()},
            "train": self.metrics.snapshot(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot, which stays usable."""
        self.model.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(copy.deepcopy(snapshot["optimizer"]))
        self.step, self.lr = snapshot["step"], snapshot["lr"]
        self._memory = {name: value.clone() for name, value in snapshot["memory"].items()}
        self.metrics.restore(snapshot["train"])

    @contextmanager
    def at(self, snapshot: dict[str, Any]) -> Iterator[None]:
        """Context in which the training stands at a snapshot."""
        present = self.snapshot()
        self.restore(snapshot)
        try:
            yield
        finally:
            self.restore(present)

    def digest(self) -> str:
        """SHA-256 of the model's state and the method's memory, bit for bit."""
        return digest_of({"model": self.model.state_dict(), "memory": self._memory})


def digest_of(snapshot: Mapping[str, Any]) -> str:
    """:meth:`Trainer.digest` of a trainer at a snapshot."""
    digest = hashlib.sha256()
    memory = {f"memory.{name}": value for name, value in snapshot["memory"].items()}
    for name, value in sorted((snapshot["model"] | memory).items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _optimizer(spec: OptimizerSpec, model: torch.nn.Module) -> torch.optim.Optimizer:
    if spec.name == "adam":
        return torch.optim.Adam(model.parameters(), lr=spec.lr_max, weight_decay=spec.weight_decay)
    return torch.optim.SGD(model.parameters(), lr=spec.lr_max, momentum=spec.momentum, weight_decay=spec.weight_decay)
