"""Random networks in several precision sets, and every witness of a program that holds them all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import dnnc
import numpy as np
from dnnc.backends.accel.assembler import assemble_any
from dnnc.backends.accel.disassembler import disassemble
from dnnc.backends.cost.module import cost_module
from dnnc.backends.cost.switch import cost_switch
from dnnc.cli.sets_request import scheduled_sets
from dnnc.driver.session import program_arch, with_program
from dnnc.ir.arch import Arch
from dnnc.ir.container import read_container, write_program
from dnnc.ir.program_sets import ProgramSets
from dnnc.ir.stats import differences
from dnnc.runtime.machine import RunOptions, run_program
from dnnc.runtime.sets import Pass, run_passes

Array = np.ndarray[Any, Any]
OPTIONS = RunOptions(count_overflows=True)


def sets_file(folder: Path, sets: Sequence[Mapping[str, Any]], default: str) -> Path:
    path = folder / "sets.yaml"
    path.write_text(json.dumps({"sets": list(sets), "default": default}))
    return path


def equal_to_single_programs(
    model: Path, arch: Arch | str, options: dnnc.Options, file: Path, inputs: Mapping[str, Array], rng: Random
) -> ProgramSets:
    """The program of all sets of `file`, after it has been shown that each set is the program that the model compiles
    to by itself; that passes in a drawn order yield bit for bit what these yield, and count the same; that cost
    predicts it, switches included; and that file and text read back to the same bytes."""
    asked = scheduled_sets(str(model), arch, options, file)
    program = asked.program()
    singles = {}
    for entry, module in zip(asked.file.sets, asked.modules, strict=True):
        own = replace(options, precision=entry.precision, prune=entry.prune)
        singles[entry.name] = dnnc.compile(model, arch, own)
        assert program.of(entry.name).program == singles[entry.name] == with_program(module, asked.arch).program
    data = write_program(program)
    assert read_container(data) == program
    text = disassemble(program)
    again = assemble_any(text)
    assert write_program(again) == data
    assert disassemble(again) == text
    machine = program_arch(program.first)
    order = [rng.choice(asked.file.sets).name for _ in range(2 * len(singles))]
    passes = [Pass(name, {key: _changed(value, rng) for key, value in inputs.items()}) for name in order]
    before = ""
    modules = {entry.name: module for entry, module in zip(asked.file.sets, asked.modules, strict=True)}
    for each, found in zip(passes, run_passes(program, machine, passes, OPTIONS), strict=True):
        alone = run_program(singles[each.set], machine, each.inputs, OPTIONS)
        for name, value in alone.outputs.items():
            np.testing.assert_array_equal(found.result.outputs[name], value)
        assert differences(alone.layers, found.result.layers) == []
        masks = found.result.masks or None
        assert differences(cost_module(modules[each.set], machine, masks), found.result.layers) == []
        assert (found.switch is None) == (before in ("", each.set))
        if found.switch is not None:
            assert differences([cost_switch(machine)], [found.switch]) == []
        before = each.set
    return program


def _changed(value: Array, rng: Random) -> Array:
    """Other values of the same range."""
    flat = value.reshape(-1).copy()
    np.random.default_rng(rng.getrandbits(32)).shuffle(flat)
    return flat.reshape(value.shape)
