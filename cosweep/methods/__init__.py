"""Training methods, one file each, named as in their papers."""

from cosweep.methods.base import Batch, Memory, Method
from cosweep.methods.fgsm import FGSM
from cosweep.methods.n_fgsm import NFGSM
from cosweep.methods.pgd import PGD
from cosweep.methods.rs_fgsm import RSFGSM

METHODS: dict[str, type[Method]] = {
    "fgsm": FGSM,
    "rs_fgsm": RSFGSM,
    "n_fgsm": NFGSM,
    "pgd": PGD,
}

__all__ = ["METHODS", "Batch", "Memory", "Method"]
