"""The sections of a study file that are problems: what reads each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..frontend.yaml_fields import Fields
from ..ir.frozen import dataclass
from .architecture import read_architecture
from .costs import Costs
from .judge import Judge
from .precision import read_bitwidths
from .problem import Candidate, Problem
from .shared_files import SharedFile
from .sparsity import read_sparsity


@dataclass(frozen=True, slots=True)
class Context:
    """What the study says beside the section of a problem. `top` is the whole of it, for sections that problems share;
    `arch` is the machine as `load_arch` takes it; `folder` is that of the study's file, from which paths start."""

    top: Fields
    model: SharedFile
    arch: str
    base: Candidate
    folder: str
    seed: int
    costs: Costs
    judge: Judge | None


Reader = Callable[[Fields, Context], Problem | None]  # None: faults say why
JUDGED = ("precision", "sparsity")  # problems that the samples of `accuracy` are for

# In the order in which they change a candidate, and in which their variables stand in a genome.
PROBLEMS: Mapping[str, Reader] = {
    "architecture": lambda section, context: read_architecture(section, context.arch),
    "precision": lambda section, context: read_bitwidths(section, context.judge, context.costs, context.base),
    "sparsity": lambda section, context: read_sparsity(
        section, context.judge, context.base, has_samples=context.top.has("accuracy")
    ),
}
