"""Figures of the cost model: what the model of a study costs on a candidate's machine, without a program.

They are those of `dnnc cost` (specs/statistics.md), from the same passes and counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ..backends.cost.kept_counts import counting_machine
from ..driver import session
from ..driver.described import Json
from ..driver.model import CALIBRATION_LIMIT_S, ModelInputs, Report, calibrated_model, load_model, model_inputs, silent
from ..driver.options import pass_options
from ..driver.values import read_npz
from ..frontend.calibrate import Observed
from ..frontend.importer import ImportOptions, prepare
from ..frontend.network import Network
from ..frontend.quantised import network_is_quantised
from ..ir.arch import Arch
from ..ir.content_cache import sources_digest
from ..ir.diagnostics import CompileError
from ..ir.frozen import dataclass
from ..ir.module import Header, Module
from ..ir.precision import PrecisionSpec
from ..passes.calibrated import Calibrated
from ..passes.pipeline import Options as PassOptions
from ..passes.pipeline import named, remaining
from ..passes.precision_rules import in_graph_names, layers_by_name, spec_faults
from .problem import Candidate, Figures
from .shared_files import SharedFile
from .versions import version_text

_EVALUATES = ("ir", "frontend", "passes", "backends", "runtime", "driver", "explore")
_BEFORE_PRUNING, PRUNE = named("canonicalise,quantise,fuse"), named("prune")
_MOST_CALIBRATIONS = 8  # of machines, in one process
# Modules that are kept beside the latest one, and bytes of their weights.
_MOST_LOWERED = 8
_MOST_LOWERED_BYTES = 256 << 20
ENERGY_OF = "energy_pj."  # followed by the name of a component
COST_FIGURES = {
    "energy_pj": "pJ, of the whole model",
    "cycles": "of the machine's clock",
    "seconds": "of one pass over the batch",
    "inferences_per_second": "of the batch, one pass after the other",
    "area_um2": "of the components on the chip",
    "dram_bytes": "read and written at main memory, instructions included",
    "utilization": "of the array: MACs / (rows x columns x cycles)",
    "macs": "multiply-accumulates, without those with padding",
    "macs_issued": "array slots x cycles",
    "macs_skipped": "of blocks that were not computed",
    "instructions": "of the program",
    "power_w": "energy / time",
    "gops": "two operations a MAC",
    "gops_per_w": "two operations a MAC, for each watt",
}
# Names of `--objective` and of common use for figures in the units of that option.
ALIASES = {"energy": "energy_pj", "latency": "cycles", "area": "area_um2"}


@dataclass(frozen=True, slots=True)
class Costs:
    """`model` on candidates; `calibrate` and `mapping` are the files that options name, if they do."""

    model: SharedFile
    calibrate: SharedFile | None = None
    mapping: SharedFile | None = None

    @property
    def figures(self) -> Mapping[str, str]:
        return COST_FIGURES

    @property
    def identity(self) -> str:
        files = [each.identity if each else "-" for each in (self.model, self.calibrate, self.mapping)]
        return "\n".join(["cost", *files, sources()])

    def open(self) -> Callable[[Candidate], Figures]:
        opened = opened_costs(self)

        def figures(candidate: Candidate) -> Figures:
            try:
                return figures_of(session.cost_document(*opened.scheduled(candidate)))
            finally:  # a refusal, too, may be of a file that came since
                self.refuse_changed()

        return figures

    def refuse_changed(self) -> None:
        """Raise ChangedFileError where a file is not what it was as this process began to read it."""
        for each in (self.model, self.calibrate, self.mapping):
            if each is not None:
                each.refuse_changed()

    def packed(self) -> Costs:
        """With the bytes of its files, to be sent to other machines."""
        calibrate = self.calibrate.packed() if self.calibrate else None
        return Costs(self.model.packed(), calibrate, self.mapping.packed() if self.mapping else None)


class Opened:
    """The model of `costs`, read once. Raises CompileError where it cannot be."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.model = costs.model.local()
        self.mapping = costs.mapping.local() if costs.mapping else None
        self.samples = read_npz(Path(costs.calibrate.local())) if costs.calibrate else None
        self._networks: dict[Any, tuple[Network, dict[object, Observed]]] = {}
        self._calibrations: dict[tuple[str, str], Calibrated] = {}
        self._lowered: OrderedDict[tuple[Arch, str], tuple[Module, PassOptions]] = OrderedDict()

    def network(self, candidate: Candidate) -> Network:
        """The file with its axes bound as the candidate says."""
        return self._network(candidate)[0]

    def _network(self, candidate: Candidate) -> tuple[Network, dict[object, Observed]]:
        """With what calibrations of it have seen."""
        options = candidate.options
        key = (options.batch_size, tuple(sorted(options.shapes.items())))
        if key not in self._networks:
            limit_s = CALIBRATION_LIMIT_S if options.time_limit_s is None else options.time_limit_s
            bound = ImportOptions(options.batch_size, options.shapes, limit_s)
            self._networks[key] = prepare(Path(self.model), bound), {}
        return self._networks[key]

    def scheduled(self, candidate: Candidate, warn: Report = silent) -> tuple[Module, Any]:
        """The candidate's module after all passes, and its machine. Raises CompileError."""
        options = candidate.options
        if self.mapping is not None:
            options = replace(options, mapping=self.mapping)
        module, passes = self.lowered(replace(candidate, options=options), warn)
        return session.transform(module, candidate.flat, passes, remaining(module.header.last_pass)), candidate.flat

    def lowered(self, candidate: Candidate, warn: Report = silent) -> tuple[Module, PassOptions]:
        """The candidate's module before its mappings are chosen, and the options of the passes that are left. Up to
        there nothing looks at the sizes of memories or at prices, and machines that differ in these alone share it.
        Raises CompileError."""
        arch = candidate.flat
        key = (counting_machine(arch), candidate.options_text)
        if key not in self._lowered:
            module, passes = self.quantised(candidate, warn)
            left = remaining(module.header.last_pass)
            first = [each.name for each in left].index("schedule")
            self._lowered[key] = session.transform(module, arch, passes, left[:first]), passes
            while len(self._lowered) > 1 and (len(self._lowered) > _MOST_LOWERED or self._too_large()):
                self._lowered.popitem(last=False)
        self._lowered.move_to_end(key)
        module, passes = self._lowered[key]
        header = replace(module.header, arch=arch.name, arch_digest=arch.digest)
        return replace(module, header=header), passes

    def _too_large(self) -> bool:
        held = (each.blobs for each, _ in self._lowered.values())
        return sum(blobs.size(each) for blobs in held for each in blobs) > _MOST_LOWERED_BYTES

    def quantised(self, candidate: Candidate, warn: Report = silent) -> tuple[Module, PassOptions]:
        """The candidate's module, after the pass `quantise` where widths are asked of the layers of a float model, else
        after `import`; and the options of the passes that are left. Raises CompileError."""
        passes = pass_options(candidate.options, Header("", "", ""))
        if isinstance(passes.precision, PrecisionSpec) and not network_is_quantised(self.network(candidate)):
            calibrated = self._calibration(candidate, passes.precision, warn)
            layers = layers_by_name(calibrated.imported)
            if faults := spec_faults(passes.precision, layers, candidate.flat, {}):
                raise CompileError(faults)
            passes = replace(passes, precision=in_graph_names(passes.precision, layers))
            return calibrated.quantised(passes.precision), passes
        return load_model(self.model, candidate.flat, passes, self.given(candidate), warn)

    def graph(self, candidate: Candidate) -> tuple[Module, PassOptions]:
        """The candidate's graph before the pass `prune`, and the options of the passes. Raises CompileError."""
        module, options = self.quantised(candidate)
        left = [each for each in _BEFORE_PRUNING if each in remaining(module.header.last_pass)]
        return session.transform(module, candidate.flat, options, left), options

    def float_module(self, candidate: Candidate) -> Module | None:
        """The calibrated float graph whose values codes stand for; None of a model that is quantised already."""
        if network_is_quantised(self.network(candidate)):
            return None
        precision = pass_options(candidate.options, Header("", "", "")).precision
        spec = precision if isinstance(precision, PrecisionSpec) else PrecisionSpec()
        return self._calibration(candidate, spec, silent).module

    def given(self, candidate: Candidate) -> ModelInputs:
        """What is known about the model beside its file, with this candidate's options."""
        network, seen = self._network(candidate)
        file = self.costs.calibrate.path if self.costs.calibrate else ""
        return model_inputs(candidate.options, self.samples, file, network, seen)

    def _calibration(self, candidate: Candidate, precision: PrecisionSpec, warn: Report) -> Calibrated:
        """What all precisions of a machine share: the default's form decides what the array takes beside the layers."""
        base = PrecisionSpec(precision.default)
        bare = replace(candidate.options, precision=base, prune=None)
        key = (candidate.arch.digest, replace(candidate, options=bare).options_text)  # modules name the description
        if key not in self._calibrations:
            while len(self._calibrations) >= _MOST_CALIBRATIONS:
                del self._calibrations[next(iter(self._calibrations))]
            passes = pass_options(bare, Header("", "", ""))
            found, _ = calibrated_model(self.model, candidate.flat, passes, self.given(candidate), warn)
            self._calibrations[key] = found
        return self._calibrations[key]


@lru_cache(maxsize=4)
def opened_costs(costs: Costs) -> Opened:
    """The model of `costs`, opened once by each process for all who evaluate it. Raises CompileError."""
    return Opened(costs)


def figures_of(stats: Json) -> dict[str, float | int | None]:
    """The figures of statistics; energy also by component."""
    total = stats["total"]
    main = stats["machine"]["memories"][0]["name"]
    found: dict[str, float | int | None] = {name: total[name] for name in COST_FIGURES if name in total}
    found["dram_bytes"] = sum(
        moved["read_bytes"] + moved["write_bytes"]
        for layer in stats["layers"]
        for moved in layer["traffic"].get(main, {}).values()
    )
    for layer in stats["layers"] if total["energy_pj"] is not None else ():
        for component, energy_pj in layer["energy_pj"].items():
            name = f"{ENERGY_OF}{component}"
            found[name] = (found.get(name) or 0.0) + energy_pj
    return found


@cache
def sources() -> str:
    """What decides figures beside a study's files: our version and the digest of our sources, whatever of them
    evaluates, and the versions of onnxruntime, which calibrates and computes what is not for the array, and numpy."""
    root = Path(__file__).parents[1]
    folders = sorted({each.parent for name in _EVALUATES for each in (root / name).rglob("*.py")})
    return f"{sources_digest(*folders)} {version_text('dnnc', 'onnxruntime', 'numpy')}"
