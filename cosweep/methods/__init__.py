"""Training methods, one file each, named as in their papers."""

from cosweep.methods.aaer import AAER
from cosweep.methods.atas import ATAS
from cosweep.methods.base import Batch, Memory, Method
from cosweep.methods.elle import ELLE, ELLEA
from cosweep.methods.fast_adv_plus import FastAdvPlus
from cosweep.methods.fgsm import FGSM
from cosweep.methods.free import Free
from cosweep.methods.gat import GAT
from cosweep.methods.grad_align import GradAlign
from cosweep.methods.kim import Kim
from cosweep.methods.lap import LAP
from cosweep.methods.multi_grad import MultiGrad
from cosweep.methods.n_fgsm import NFGSM
from cosweep.methods.nu_at import NuAT
from cosweep.methods.pgd import PGD
from cosweep.methods.rs_fgsm import RSFGSM
from cosweep.methods.zero_grad import ZeroGrad

METHODS: dict[str, type[Method]] = {
    "fgsm": FGSM,
    "rs_fgsm": RSFGSM,
    "n_fgsm": NFGSM,
    "pgd": PGD,
    "grad_align": GradAlign,
    "free": Free,
    "zero_grad": ZeroGrad,
    "multi_grad": MultiGrad,
    "kim": Kim,
    "aaer": AAER,
    "elle": ELLE,
    "elle_a": ELLEA,
    "atas": ATAS,
    "lap": LAP,
    "fast_adv_plus": FastAdvPlus,
    "gat": GAT,
    "nu_at": NuAT,
}

__all__ = ["METHODS", "Batch", "Memory", "Method"]
