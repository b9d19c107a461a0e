"""Several precision sets of one program: what they cost, how they run, and the document of both, `dnnc.sets/1`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..backends.cost.invariants import broken_invariants
from ..backends.cost.price import reported_pj
from ..backends.cost.switch import cost_switch
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic, Span, ensure
from ..ir.frozen import dataclass
from ..ir.program_sets import ProgramSets, Value
from ..ir.stats import LayerCounts, by_layer
from ..runtime.machine import RunOptions
from ..runtime.sets import Pass, PassResult, run_passes
from .described import Json
from .session import program_arch
from .set_passes import joined
from .sets_file import SetEntry
from .stats import document, layer_json, total_json

SCHEMA = "dnnc.sets/1"


@dataclass(frozen=True, slots=True)
class SetsRun:
    """A run of several passes: `outputs` of all together, and what each pass yielded."""

    outputs: dict[str, Any]
    passes: Sequence[PassResult]


def cost_of_sets(entries: Sequence[SetEntry], default: str, stats: Sequence[Json], arch: Arch) -> Json:
    """The document of what sets cost: the statistics of each (`dnnc.stats/1`), and of a switch."""
    base = stats[0]
    return {
        "schema": SCHEMA,
        "source": "cost",
        **{key: base[key] for key in ("model", "arch", "batch")},
        "default": default,
        "sets": [
            {"name": each.name, "when": list(each.when), "passes": None, "stats": own}
            for each, own in zip(entries, stats, strict=True)
        ],
        "switch": _priced(cost_switch(arch), arch),
        "switches": None,
        "passes": None,
        "total": None,
    }


def run_sets(
    program: ProgramSets,
    passes: Sequence[Pass],
    conditions: Sequence[Mapping[str, Value]],
    options: RunOptions,
    told: Callable[[int], object] = lambda number: None,
) -> tuple[SetsRun, Json]:
    """Carry out passes, of which `conditions` are those that chose their sets; the result and its document."""
    arch = program_arch(program.first)
    results = run_passes(program, arch, passes, options, told)
    switches = [each.switch for each in results if each.switch is not None]
    counts = [*(layer for each in results for layer in each.result.layers), *switches]
    faults = [f"{each.name}: {fault}" for each in counts for fault in broken_invariants(each, arch)]
    ensure(not faults, "; ".join(faults))
    sets = []
    for one in program.sets:
        own = [each.result for each in results if each.set == one.name]
        stats = None
        if own:
            layers = by_layer([layer for each in own for layer in each.layers])
            batch = len(own) * program.first.batch
            prices = [reported_pj(each, arch) for each in layers]
            stats = document("run", program.first.model, arch, batch, layers, prices, ())
        sets.append({"name": one.name, "when": list(one.when), "passes": len(own), "stats": stats})
    found = {
        "schema": SCHEMA,
        "source": "run",
        "model": program.first.model,
        "arch": arch.name,
        "batch": len(results) * program.first.batch,
        "default": program.default,
        "sets": sets,
        "switch": _priced(switches[0], arch) if switches else None,
        "switches": len(switches),
        "passes": [
            {
                "set": each.set,
                "conditions": dict(values),
                "cycles": each.result.cycles,
                "switch_cycles": 0 if each.switch is None else each.switch.cycles,
            }
            for each, values in zip(results, conditions, strict=True)
        ],
        "total": total_json(arch, len(results) * program.first.batch, counts),
    }
    return SetsRun(joined([each.result.outputs for each in results]), results), found


def _priced(switch: LayerCounts, arch: Arch) -> Json:
    """The figures of a switch."""
    row = layer_json(switch, arch)
    energy = sum(row["energy_pj"].values()) if arch.energy else None
    kept = {key: row[key] for key in ("cycles", "instructions", "traffic")}
    return {**kept, "seconds": switch.cycles / arch.clock_hz, "energy_pj": energy}


def in_set(error: CompileError, entry: SetEntry) -> list[Diagnostic]:
    """Why the model does not compile in a set: each fault with its own place, and that of the set."""
    return [
        Diagnostic(f"set {entry.name!r}: {each.message}", entry.span, each.help, each.excerpt)
        if not each.span.file
        else Diagnostic(f"{each.message} (in set {entry.name!r}, {entry.span})", each.span, each.help, each.excerpt)
        for each in error.diagnostics
    ]


def must_fit(program: ProgramSets, arch: Arch, file: str) -> None:
    """Raise CompileError where the images of all sets do not fit main memory together."""
    if program.main_bytes > arch.main.capacity_bytes:
        message = f"the sets need {program.main_bytes} bytes of main memory together"
        raise CompileError(Diagnostic(message, Span(file), f"{arch.name!r} has {arch.main.capacity_bytes}"))
