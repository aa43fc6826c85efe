"""Batch normalisation over the rows of all workers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cosweep.parallel import Workers


class SharedBatchNorm(_BatchNorm):
    """A batch-norm layer whose statistics in training are those of the global batch, as one worker has them.

    On any device and differentiable any number of times, since attacks and regularisers differentiate through it;
    ``nn.SyncBatchNorm`` is neither.
    """

    workers: Workers

    @classmethod
    def of(cls, layer: _BatchNorm, workers: Workers) -> SharedBatchNorm:
        """The layer with the same weights, buffers and names, on the same device."""
        shared = cls(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        shared.load_state_dict(layer.state_dict())
        shared.workers = workers
        return shared.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        given, x = x.dtype, x.float() if x.dtype == torch.bfloat16 else x  # sums of bfloat16 would be far off
        axes = [0, *range(2, x.dim())]
        shape = (1, -1, *[1] * (x.dim() - 2))
        size = x.new_full((1,), x.numel() // self.num_features)
        *_, n = sums = self.workers.sum(torch.cat([x.sum(axes), size]))
        mean = sums[:-1] / n
        # Squares are summed about the mean: the difference of two large sums would lose the digits of a small variance.
        centred = x - mean.view(shape)
        variance = self.workers.sum(centred.square().sum(axes)) / n
        self._remember(mean.detach(), variance.detach() * n / (n - 1))
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        out: Tensor = centred * scale.view(shape)
        return (out + self.bias.view(shape) if self.affine else out).to(given)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes; the layer in whose place it stands took them."""


def share_batch_norm(model: nn.Module, workers: Workers) -> None:
    """Put a shared layer in the place of every batch-norm layer; a lone worker's model stays as it is."""
    if workers.count == 1:
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, SharedBatchNorm.of(child, workers))
