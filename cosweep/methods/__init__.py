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
from cosweep.specs import registry

METHODS: dict[str, type[Method]] = registry(
    FGSM,
    RSFGSM,
    NFGSM,
    PGD,
    GradAlign,
    Free,
    ZeroGrad,
    MultiGrad,
    Kim,
    AAER,
    ELLE,
    ELLEA,
    ATAS,
    LAP,
    FastAdvPlus,
    GAT,
    NuAT,
)

__all__ = ["METHODS", "Batch", "Memory", "Method"]
