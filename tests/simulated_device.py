"""A device that is simulated on the CPU: it mixes with no CPU tensor, and counts what a GPU would wait for.

Its tensors hold CPU tensors. An operation on one of them runs on what they hold, so a training there has the bits of
the CPU. As on a GPU, an operation on tensors of both devices raises, a copy between them is counted, and so is a read
of a value, for which a GPU's queue has to run dry. Rests on functions of torch that are experimental: for tests alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("sim")
DEVICE = torch.device("sim", 0)
COPY, READ, LAUNCH = "copies", "reads", "launches"
_READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")
_FREE = {
    *("view", "_unsafe_view", "_reshape_alias", "as_strided", "alias", "detach", "expand", "transpose", "permute", "t"),
    *("select", "slice", "split", "unbind", "squeeze", "unsqueeze", "unfold", "diagonal", "empty", "new_empty"),
}
"""Operations that launch nothing on a GPU."""


class SimulatedTensor(Tensor):
    """A tensor of the device; ``held`` is the CPU's with its numbers."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> SimulatedTensor:
        made: SimulatedTensor = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(Counter(), func, args, kwargs or {})


class _Counting(TorchDispatchMode):
    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(self.counts, func, args, kwargs or {})


@contextmanager
def simulated() -> Iterator[Counter[str]]:
    """Context in which tensors may be on ``DEVICE``; what has been counted there."""
    counts: Counter[str] = Counter()
    with _Counting(counts):
        yield counts


def _run(counts: Counter[str], func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = [isinstance(tensor, SimulatedTensor) for tensor in tensors]
    asked = kwargs.get("device")
    goes_here = any(here) if asked is None else torch.device(asked).type == DEVICE.type
    if name in ("_to_copy", "copy_"):
        into_here = here[0] if name == "copy_" else goes_here
        if here[-1] != into_here:
            counts[COPY] += 1
    elif any(here):
        strange = [tensor for tensor, known in zip(tensors, here, strict=True) if not known and tensor.dim()]
        if strange:
            raise RuntimeError(f"{func} takes tensors of two devices: one of {tuple(strange[0].shape)} is on the CPU")
        counts[READ if name in _READS else "views" if name in _FREE else LAUNCH] += 1
    plain = {key: value for key, value in kwargs.items() if key != "device"}
    if asked is not None and not (name == "_to_copy" and goes_here):
        plain["device"] = torch.device("cpu") if goes_here else asked
    held_args, held_kwargs = tree_map_only(SimulatedTensor, lambda tensor: tensor.held, (args, plain))
    found = func(*held_args, **held_kwargs)
    if name == "copy_":
        return args[0]
    if not goes_here:
        return found
    made = tree_map_only(Tensor, SimulatedTensor, found)
    if name == "_to_copy" or not any(here):
        return made
    return return_and_correct_aliasing(func, args, kwargs, made)  # type: ignore[no-untyped-call]
