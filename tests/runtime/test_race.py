"""The race check against a literal one: sets of bytes, and reachability in the graph of what the program orders."""

from __future__ import annotations

from dataclasses import replace

from dnnc.backends.accel.emit import emit_program
from dnnc.ir.arch import Arch
from dnnc.ir.encoding import decode, decode_columns, encode
from dnnc.ir.nest import Nest
from dnnc.ir.program import BOX_AXES, COUNTERS, FIELDS, NO_SLOT, TYPE_CODES, Instruction, Opcode, Program
from dnnc.passes.allocate import allocate
from dnnc.runtime.layout import instruction_table
from dnnc.runtime.race import Race, find_races
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.programs import module_of

ENGINES = {Opcode.LOAD: 0, Opcode.COMPUTE: 1, Opcode.VECTOR: 1, Opcode.STORE: 2}
WAITS = ("wait_load", "wait_execute", "wait_store")


def program_of(arch: Arch, *nests: Nest) -> Program:
    return emit_program(allocate(module_of(nests), arch), arch)


def races(program: Program, arch: Arch) -> tuple[Race, ...]:
    return find_races(program, instruction_table(decode_columns(program.code)), arch)


def fields(instruction: Instruction) -> dict[str, int | tuple[int, ...]]:
    names = [field.name for field in FIELDS[instruction.opcode][2:]]
    return dict(zip(names, instruction.values, strict=True))


def changed(program: Program, number: int, **values: int | tuple[int, ...]) -> Program:
    """The program with other values in one instruction."""
    code = decode(program.code)
    found = code[number]
    code = [*code[:number], replace(found, values=tuple((fields(found) | values).values())), *code[number + 1 :]]
    return replace(program, code=encode(code))


def span_bytes(base, size, extents, strides) -> set[int]:
    if 0 in extents:
        return set()
    return set(range(base, base + size * (1 + sum((e - 1) * s for e, s in zip(extents, strides, strict=True)))))


def literal_races(program: Program) -> set[int]:
    """Instructions that touch local memory although one that must be done before is not known to be."""
    configured = {}
    done: list[set[int]] = []  # per instruction: those known to have completed when it starts
    touched: list[tuple[int, int, set[int], set[int]]] = []
    issued: list[list[int]] = [[], [], []]
    found = set()
    fenced: set[int] = set()
    for number, instruction in enumerate(decode(program.code)):
        f, opcode = fields(instruction), instruction.opcode
        done.append(set())
        if opcode not in ENGINES:
            configured[opcode, f.get("stream", f.get("step"))] = f
            if opcode in (Opcode.FENCE, Opcode.HOST):
                fenced = {each for engine in issued for each in engine}
            continue
        engine = ENGINES[opcode]
        known = set(fenced) | (done[issued[engine][-1]] if issued[engine] else set())
        for other, name in enumerate(WAITS):
            if f[name]:
                target = issued[other][-f[name]]
                known |= done[target] | {each for each in issued[other] if each <= target}
        done[number] = known
        reads, writes = local_bytes(opcode, f, configured)
        for before, their_engine, their_reads, their_writes in touched:
            conflict = writes & (their_reads | their_writes) or reads & their_writes
            if conflict and their_engine != engine and before not in known:
                found.add(number)
        touched.append((number, engine, reads, writes))
        issued[engine].append(number)
    return found


def local_bytes(opcode, f, configured) -> tuple[set[int], set[int]]:
    def size(kind: int) -> int:
        return TYPE_CODES[kind].container_bytes

    if opcode is Opcode.LOAD:
        stream = configured[Opcode.CONFIGURE_LOAD, f["stream"]]
        return set(), span_bytes(f["local"], stream["element_bits"] // 8, f["extent"], stream["local_stride"])
    if opcode is Opcode.STORE:
        store = configured[Opcode.CONFIGURE_STORE, None]
        reads = span_bytes(f["local"], size(store["accumulator"]), f["extent"], store["local_stride"])
        for step in range(store["post_steps"]):
            post = configured[Opcode.CONFIGURE_POST, step]
            if post["slot"] != NO_SLOT:
                base = f["aux"][post["slot"]]
                reads |= span_bytes(base, size(post["operand_type"]), f["extent"], post["stride"])
        return reads, set()
    a, c = configured[Opcode.CONFIGURE_A, None], configured[Opcode.CONFIGURE_C, None]
    reads = span_bytes(f["a"], size(a["type"]), f["extent"], a["stride"])
    if opcode is Opcode.COMPUTE:
        b = configured[Opcode.CONFIGURE_B, None]
        reads |= span_bytes(f["b"], size(b["type"]), f["extent"], b["stride"])
    return reads, span_bytes(f["c"], size(c["type"]), f["extent"], c["stride"])


CASES = st.fixed_dictionaries(
    {
        "tiles": st.permutations(["m", "p", "n"]).map(lambda dims: [(dim, 2) for dim in dims[:2]]),
        "inner": st.sampled_from([[], [("c", 2)], [("r", 1), ("c", 3)]]),
        "copies": st.fixed_dictionaries({each: st.sampled_from([1, 2]) for each in ("x", "w", "bias", "scale", "y")}),
        "dataflow": st.sampled_from(["ws", "os", "is"]),
    }
)


@settings(max_examples=15, deadline=None)
@given(CASES, st.data())
def test_a_wait_that_is_shorter_or_missing_is_a_race_where_the_literal_check_says_so(case, data) -> None:
    arch = machine()
    tiles = [*case["tiles"], *case["inner"]]
    nest = conv_nest(arch, n=2, m=4, p=4, q=2, c=4, tiles=tiles, copies=case["copies"], dataflow=case["dataflow"])
    program = program_of(arch, nest, max_pool_nest(arch, tiles=[("p", 2)]))
    assert races(program, arch) == ()
    assert literal_races(program) == set()
    waiting = [
        (number, name)
        for number, each in enumerate(decode(program.code))
        for name in WAITS
        if fields(each).get(name, 0)
    ]
    for number, name in data.draw(st.lists(st.sampled_from(waiting), min_size=6, max_size=6, unique=True)):
        worse = changed(program, number, **{name: 0})
        assert {race.second for race in races(worse, arch)} == literal_races(worse)


def test_every_wait_of_a_store_is_needed() -> None:
    arch = machine()
    program = program_of(arch, matmul_nest(arch, tiles=[("m", 2), ("p", 4)]))
    stores = [number for number, each in enumerate(decode(program.code)) if each.opcode is Opcode.STORE]
    for number in stores:
        found = races(changed(program, number, wait_execute=0), arch)
        assert found[0].second == number
        assert found[0].memory == "acc"
        assert "(store) does not wait for" in str(found[0])


def test_a_wait_that_waits_for_an_earlier_command_is_no_wait_for_the_later_one() -> None:
    arch = machine()
    program = program_of(arch, matmul_nest(arch, p=12, tiles=[("p", 2)]))
    code = decode(program.code)
    last = max(number for number, each in enumerate(code) if each.opcode is Opcode.STORE)
    assert races(changed(program, last, wait_execute=2), arch)[0].second == last


def test_a_copy_at_the_wrong_address_is_a_race() -> None:
    arch = machine()
    program = program_of(arch, matmul_nest(arch, p=12, tiles=[("p", 2)]))
    code = decode(program.code)
    loads = [number for number, each in enumerate(code) if each.opcode is Opcode.LOAD]
    place = fields(code[loads[2]])["local"]
    assert place != fields(code[loads[3]])["local"]
    assert races(changed(program, loads[3], local=place), arch)


def test_stores_into_what_is_still_loaded_are_races() -> None:
    """Main memory too: an output that lies on its input, tile by tile one tile behind."""
    arch = machine()
    program = program_of(arch, matmul_nest(arch, p=12, tiles=[("p", 2)]))
    code = decode(program.code)
    main = fields(next(each for each in code if each.opcode is Opcode.LOAD))["main"]
    first = next(number for number, each in enumerate(code) if each.opcode is Opcode.STORE)
    found = races(changed(program, first, main=main), arch)
    assert found
    assert {race.memory for race in found} == {"dram"}


def test_fences_end_what_can_race() -> None:
    arch = machine()
    program = program_of(arch, matmul_nest(arch, tiles=[("p", 2)]), conv_nest(arch, tiles=[("p", 2)]))
    assert races(program, arch) == ()
    fence = next(number for number, each in enumerate(decode(program.code)) if each.opcode is Opcode.FENCE)
    code = decode(program.code)
    assert races(replace(program, code=encode([*code[:fence], *code[fence + 1 :]])), arch)


def test_empty_commands_touch_nothing() -> None:
    arch = machine()
    program = program_of(arch, matmul_nest(arch, p=8, tiles=[("p", 2)]))
    for number, each in enumerate(decode(program.code)):
        if each.opcode is Opcode.COMPUTE:
            program = changed(program, number, extent=(0,) * COUNTERS, wait_load=0, wait_store=0)
        elif each.opcode is Opcode.STORE:
            program = changed(program, number, extent=(0,) * BOX_AXES, wait_execute=0)
    assert races(program, arch) == ()
