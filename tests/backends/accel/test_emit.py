"""The emitter against a literal walker of specs/isa.md, section 5, and against what waits are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from math import prod

import pytest
from dnnc.backends.accel.emit import emit, emit_nest, emit_program, tolerance
from dnnc.backends.accel.tiles import MAX_ITERATIONS
from dnnc.ir.affine import Affine
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.encoding import decode, pack
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import VALUE, Access, Loop, Nest, Post, PostOp, Role, main_memory_loops
from dnnc.ir.nest_layout import axis_box, local_layout
from dnnc.ir.program import FIELDS, NO_COUNTER, NO_SLOT, Instruction, Opcode
from dnnc.ir.types import Blobs, ElementType, Tensor
from dnnc.passes.allocate import allocate, allocate_buffers
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import float_machine, machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.programs import small_module

ADDRESSES = {"x": 0x100000, "a": 0x100000, "w": 0x200000, "b": 0x200000, "bias": 0x300000, "scale": 0x400000, "y": 0}
Box = tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]
Fields = dict[str, int | tuple[int, ...]]


class Walker:
    """Section 5 word by word: one step of the loop a tile, Python integers, no arrays."""

    def __init__(self, nest: Nest, arch: Arch) -> None:
        assert nest.schedule is not None
        self.nest, self.arch = nest, arch
        self.extents = {dim.name: dim.extent for dim in nest.domain}
        loops = main_memory_loops(nest.schedule)
        trips = [range(-(-self.extents[loop.dims[0]] // loop.size)) for loop in loops]
        self.iterations = [
            {loop.dims[0]: (index * loop.size, loop.size) for loop, index in zip(loops, point, strict=True)}
            for point in product(*trips)
        ]
        self.post = [step.operand for step in nest.post if step.operand is not None]
        self.body = [nest.body.a, nest.body.b]
        self.commands: list[tuple[Opcode, Fields]] = []
        self.issued: dict[str, list[int]] = {"load": [], "execute": [], "store": []}  # what each command was for
        self.versions = {each.operand: self.count_versions(each.operand) for each in (*nest.reads, nest.write)}
        self.copies = {each.operand: each.copies for each in nest.schedule.buffers}

    def run(self) -> list[tuple[Opcode, Fields]]:
        reads = [read.operand for read in self.nest.reads]
        for operand in reads:
            self.load(operand, 0)
        for i in range(len(self.iterations)):
            following = [o for o in reads if i + 1 < len(self.iterations) and self.changes(o, i + 1)]
            for operand in following:
                if self.copies[operand] == 2:
                    self.load(operand, i + 1)
            self.compute(i)
            for operand in following:
                if self.copies[operand] == 1 and operand not in self.post:
                    self.load(operand, i + 1)
            if i + 1 == len(self.iterations) or self.changes("y", i + 1):
                self.store(i)
            for operand in following:
                if self.copies[operand] == 1 and operand in self.post:
                    self.load(operand, i + 1)
        return self.commands

    def tile(self, operand: str, i: int) -> tuple[int, ...]:
        dims = self.nest.access(operand).dims
        return tuple(start for dim, (start, _) in self.iterations[i].items() if dim in dims)

    def changes(self, operand: str, i: int) -> bool:
        return i == 0 or self.tile(operand, i) != self.tile(operand, i - 1)

    def count_versions(self, operand: str) -> list[int]:
        """The number of the operand's tile at each iteration."""
        versions = [0]
        for i in range(1, len(self.iterations)):
            versions.append(versions[-1] + self.changes(operand, i))
        return versions

    def version(self, operand: str, i: int) -> int:
        return self.versions[operand][i]

    def iterations_of(self, operand: str, version: int) -> list[int]:
        return [i for i, each in enumerate(self.versions[operand]) if each == version]

    def address(self, operand: str, i: int) -> int:
        assert self.nest.schedule is not None
        buffer = self.nest.schedule.buffer(operand)
        layout = local_layout(self.nest, operand, self.arch.memory(buffer.memory).word_bytes)
        assert buffer.address is not None
        return buffer.address + self.version(operand, i) % buffer.copies * layout.tile_bytes

    def sizes(self, i: int) -> tuple[dict[str, int], dict[str, int]]:
        starts, sizes = dict.fromkeys(self.extents, 0), dict(self.extents)
        for dim, (start, size) in self.iterations[i].items():
            starts[dim], sizes[dim] = start, min(size, self.extents[dim] - start)
        return starts, sizes

    def box(self, operand: str, i: int) -> Box:
        access = self.nest.access(operand)
        starts, sizes = self.sizes(i)
        axes = [
            axis_box(axis, view, self.extents, starts, sizes)
            for axis, view in zip(access.index, access.shape, strict=True)
        ]
        address = ADDRESSES[access.tensor]
        for k, each in enumerate(axes):
            address += each.start * prod(access.shape[k + 1 :]) * access.type.container_bytes
        missing = 5 - len(axes)
        return (
            address,
            (1,) * missing + tuple(each.count for each in axes),
            (0,) * missing + tuple(each.before for each in axes),
            (0,) * missing + tuple(each.after for each in axes),
        )

    def distance(self, engine: str, target: int | None) -> int:
        return 0 if target is None else min(255, len(self.issued[engine]) - target)

    def add(self, engine: str, opcode: Opcode, purpose: int, fields: Fields) -> None:
        self.issued[engine].append(purpose)
        self.commands.append((opcode, fields))

    def load(self, operand: str, i: int) -> None:
        execute = store = None
        old = self.version(operand, i) - self.copies[operand]
        if old >= 0:
            had = self.iterations_of(operand, old)
            if operand in self.body:
                execute = max(had)
            if operand in self.post:
                store = max((k for k, at in enumerate(self.issued["store"]) if at in had), default=None)
        main, extent, before, after = self.box(operand, i)
        stream = [read.operand for read in self.nest.reads].index(operand)
        waits = {"wait_execute": self.distance("execute", execute), "wait_store": self.distance("store", store)}
        fields: Fields = {"stream": stream, "main": main, "local": self.address(operand, i), "extent": extent}
        self.add("load", Opcode.LOAD, i, {**waits, **fields, "before": before, "after": after})

    def compute(self, i: int) -> None:
        load = max((k for k, served in enumerate(self.issued["load"]) if served == i), default=None)
        store = None
        if self.changes("y", i) and self.version("y", i) >= self.copies["y"]:
            store = self.version("y", i) - self.copies["y"]
        sizes = self.sizes(i)[1]
        b = self.nest.body.b
        fields: Fields = {
            "wait_load": self.distance("load", load),
            "wait_store": self.distance("store", store),
            "accumulate": int(not self.changes("y", i)),
            "a": self.address(self.nest.body.a, i),
            "b": 0 if b is None else self.address(b, i),
            "c": self.address("y", i),
            "extent": tuple(sizes[dim.name] for dim in self.nest.domain) + (1,) * (10 - len(self.nest.domain)),
        }
        vector = self.nest.schedule is not None and self.nest.schedule.dataflow.value == "vector"
        self.add("execute", Opcode.VECTOR if vector else Opcode.COMPUTE, i, fields)

    def store(self, i: int) -> None:
        main, extent, _, _ = self.box("y", i)
        aux = [self.address(operand, i) for operand in self.post]
        fields: Fields = {"wait_execute": 1, "main": main, "local": self.address("y", i), "extent": extent}
        self.add("store", Opcode.STORE, i, {**fields, "aux": tuple(aux + [0] * (4 - len(aux)))})


def named(instruction: Instruction) -> Fields:
    names = [field.name for field in FIELDS[instruction.opcode][2:]]
    return dict(zip(names, instruction.values, strict=True))


def commands(code: bytes) -> list[tuple[Opcode, Fields]]:
    wanted = (Opcode.LOAD, Opcode.COMPUTE, Opcode.VECTOR, Opcode.STORE)
    return [(each.opcode, named(each)) for each in decode(code) if each.opcode in wanted]


def assert_equal_to_walker(nest: Nest, arch: Arch) -> list[tuple[Opcode, Fields]]:
    nest = allocate_buffers(nest, arch)
    emitted = commands(emit_nest(nest, arch, ADDRESSES))
    expected = Walker(nest, arch).run()
    assert len(emitted) == len(expected)
    for (opcode, fields), (expected_opcode, expected_fields) in zip(emitted, expected, strict=True):
        assert opcode is expected_opcode
        default = {name: 0 if isinstance(value, int) else (0,) * len(value) for name, value in fields.items()}
        assert fields == {**default, **expected_fields}
    assert_no_races(nest, arch, emitted)
    return emitted


ENGINES = {Opcode.LOAD: 0, Opcode.COMPUTE: 1, Opcode.VECTOR: 1, Opcode.STORE: 2}


def assert_no_races(nest: Nest, arch: Arch, emitted: list[tuple[Opcode, Fields]]) -> None:
    """Of two commands that touch a copy, one of which writes it, the second starts after the first has completed.

    `done` says how many commands of each engine have completed when a command starts: those that it waits for, all
    before them (an engine completes in order), what those waited for, and what the engine's own last command, which
    started earlier, waited for. Two commands of one engine do not conflict: they are in order.
    """
    done: list[list[list[int]]] = [[], [], []]  # per engine and command
    touches: list[tuple[int, int, set[int], set[int]]] = []
    for j, (opcode, fields) in enumerate(emitted):
        engine = ENGINES[opcode]
        completed = list(done[engine][-1]) if done[engine] else [0, 0, 0]
        for other, name in enumerate(("wait_load", "wait_execute", "wait_store")):
            distance = one(fields.get(name, 0))
            if distance:
                assert distance <= len(done[other])
                target = done[other][-distance]
                completed = [max(pair) for pair in zip(completed, target, strict=True)]
                completed[other] = max(completed[other], len(done[other]) - distance + 1)
        done[engine].append(completed)
        reads, writes = touched(nest, opcode, fields)
        for other, number, read, written in touches:
            if other != engine and (written & (reads | writes) or read & writes):
                assert number < completed[other], f"command {j} conflicts with command {number} of engine {other}"
        touches.append((engine, len(done[engine]) - 1, reads, writes))


def one(value: int | tuple[int, ...]) -> int:
    assert isinstance(value, int)
    return value


def touched(nest: Nest, opcode: Opcode, fields: Fields) -> tuple[set[int], set[int]]:
    """Copies that a command reads and writes, by their addresses."""
    if opcode is Opcode.LOAD:
        return set(), {one(fields["local"])}
    if opcode is Opcode.STORE:
        aux = fields["aux"]
        assert isinstance(aux, tuple)
        return {one(fields["local"]), *aux[: sum(step.operand is not None for step in nest.post)]}, set()
    return {one(fields["a"])} | ({one(fields["b"])} if nest.body.b is not None else set()), {one(fields["c"])}


TILES = st.permutations(["m", "p", "q", "n"]).flatmap(
    lambda outer: st.permutations(["c", "r"]).flatmap(
        lambda inner: st.tuples(*[st.tuples(st.just(dim), st.integers(1, 4)) for dim in [*outer[:2], *inner]])
    )
)


@settings(max_examples=25, deadline=None)
@given(
    tiles=TILES,
    used=st.integers(0, 4),
    copies=st.fixed_dictionaries({each: st.sampled_from([1, 2]) for each in ("x", "w", "bias", "scale", "y")}),
    stride=st.sampled_from([1, 2, 3]),
    pad=st.integers(0, 2),
    dataflow=st.sampled_from(["ws", "os", "is"]),
)
def test_convolutions_are_emitted_as_the_specification_says(
    tiles: tuple[tuple[str, int], ...], used: int, copies: dict[str, int], stride: int, pad: int, dataflow: str
) -> None:
    arch = machine()
    nest = conv_nest(
        arch, n=2, m=6, p=3, q=3, c=5, stride=stride, pad=pad, tiles=tiles[:used], copies=copies, dataflow=dataflow
    )
    assert_equal_to_walker(nest, arch)


@pytest.mark.parametrize(
    ("build", "arch"),
    [
        (lambda arch: max_pool_nest(arch, tiles=[("p", 3), ("c", 2), ("r", 1)]), machine()),
        (lambda arch: matmul_nest(arch, g=3, tiles=[("g", 1), ("m", 4), ("p", 3), ("k", 5)]), machine()),
        (
            lambda arch: matmul_nest(arch, tiles=[("k", 2)], element=ElementType.F32, accumulator=ElementType.F32),
            float_machine(),
        ),
        (lambda arch: conv_nest(arch, p=1, q=1, stride=4, r=2, s=2, pad=0, h=9, w=9, tiles=[("m", 3)]), machine()),
        (lambda arch: conv_nest(arch, p=5, q=5, stride=1, pad=4, h=1, w=1, tiles=[("p", 1), ("q", 2)]), machine()),
    ],
    ids=["pool", "batched matmul", "float matmul", "stride beyond the kernel", "tiles all in the padding"],
)
def test_other_nests_too(build: Callable[[Arch], Nest], arch: Arch) -> None:
    assert_equal_to_walker(build(arch), arch)


def test_a_wait_farther_than_255_commands_waits_for_a_later_one() -> None:
    arch = machine(spad_bytes=1 << 20)
    nest = matmul_nest(arch, p=270, k=9, m=9, tiles=[("m", 4), ("p", 1), ("k", 9)])
    emitted = assert_equal_to_walker(nest, arch)
    third = [fields for opcode, fields in emitted if opcode is Opcode.LOAD and fields["stream"] == 1][2]
    assert third["wait_execute"] == 255


def configuration(nest: Nest, arch: Arch) -> list[tuple[Opcode, Fields]]:
    code = emit_nest(allocate_buffers(nest, arch), arch, ADDRESSES)
    return [(each.opcode, named(each)) for each in decode(code) if each.opcode.name.startswith("CONFIGURE")]


@pytest.mark.parametrize(
    ("dataflow", "row", "column"),
    [("ws", 6, 1), ("os", NO_COUNTER, 1), ("is", 6, NO_COUNTER)],
)
def test_counters_blocked_by_the_array_follow_from_the_schedule(dataflow: str, row: int, column: int) -> None:
    arch = machine()
    found = configuration(conv_nest(arch, dataflow=dataflow), arch)
    fields = next(fields for opcode, fields in found if opcode is Opcode.CONFIGURE_C)
    assert (fields["row_counter"], fields["col_counter"]) == (row, column)
    assert fields["counter_class"] == (1, 2, 1, 1, 3, 3, 3, 0, 0, 0)


def test_a_strided_convolution_stores_no_gaps() -> None:
    """1x1 with stride 2: neighbours in local memory are 2 pixels apart in main memory."""
    arch = machine()
    found = configuration(conv_nest(arch, p=3, q=3, c=6, r=1, s=1, stride=2, pad=0, h=5, w=5), arch)
    first = found[0][1]
    assert first["main_stride"] == (0, 5 * 5 * 6, 2 * 5 * 6, 2 * 6, 1)
    assert first["local_stride"] == (0, 3 * 3 * 8, 3 * 8, 8, 1)
    # and the streams of the array: r and s have one value, p and q move by one stored pixel
    assert found[4][1]["stride"] == (0, 0, 24, 8, 0, 0, 1, 0, 0, 0)


def post_chain(nest: Nest, steps: list[Post], reads: list[Access] | None = None) -> Nest:
    return replace(nest, post=tuple(steps), reads=(*nest.reads, *(reads or [])))


def test_post_steps_carry_their_attributes() -> None:
    arch = machine()
    nest = conv_nest(arch)
    steps = [
        Post(PostOp.REQUANTIZE, None, (("type", "i8"), ("zero_point", -4), ("multiplier", 0.5))),
        Post(PostOp.DEQUANTIZE, None, (("scale", 0.25), ("zero_point", -4))),
        Post(PostOp.LEAKY, None, (("alpha", 0.125),)),
        Post(PostOp.CLAMP, None, (("minimum", 0.0), ("maximum", 6.0))),
        Post(PostOp.DIVIDE, None, (("divisor", 49.0),)),
        Post(PostOp.QADD, "scale", (("ra", 1.0), ("rb", 2.0), ("base", -1.0), ("type", "u8"))),
        Post(PostOp.QUANTIZE, None, (("scale", 2.0), ("zero_point", 7), ("type", "i8"))),
    ]
    chain = [fields for op, fields in configuration(post_chain(nest, steps), arch) if op is Opcode.CONFIGURE_POST]
    assert [fields["op"] for fields in chain] == [1, 10, 4, 3, 12, 6, 9]
    assert [fields["slot"] for fields in chain] == [NO_SLOT] * 5 + [0, NO_SLOT]
    assert [fields["zero_point"] for fields in chain] == [-4, -4, 0, 0, 0, 0, 7]
    one, two, minus_one = 0x3F800000, 0x40000000, 0xBF800000
    assert chain[0]["scalar"] == (0x3F000000, 0, 0)
    assert chain[3]["scalar"] == (0, 0x40C00000, 0)
    assert chain[5]["scalar"] == (one, two, minus_one)
    assert chain[5]["stride"] == (0, 0, 0, 0, 1)


def test_a_table_is_loaded_whole_and_once() -> None:
    arch = machine()
    nest = conv_nest(arch, tiles=[("m", 4)])
    assert nest.schedule is not None
    table = Access("t", "bias", Role.AUX, ElementType.I8, (256,), (Affine.of({VALUE: 1}, 128),))
    buffers = (*nest.schedule.buffers, replace(nest.schedule.buffer("bias"), operand="t"))
    nest = replace(nest, schedule=replace(nest.schedule, buffers=buffers))
    step = Post(PostOp.TABLE, "t", (("minimum", -128), ("type", "i8")))
    nest = post_chain(nest, [*nest.post, step], [table])
    code = emit_nest(allocate_buffers(nest, arch), arch, ADDRESSES)
    loads = [fields for opcode, fields in commands(code) if opcode is Opcode.LOAD and fields["stream"] == 4]
    assert [fields["extent"] for fields in loads] == [(1, 1, 1, 1, 256)]
    fields = next(
        fields for op, fields in configuration(nest, arch) if op is Opcode.CONFIGURE_POST and fields["step"] == 3
    )
    assert (fields["op"], fields["slot"], fields["low"], fields["stride"]) == (5, 2, -128, (0,) * 5)


@pytest.mark.parametrize(
    ("element", "pad", "pattern"),
    [
        (ElementType.I8, -3, 0xFD),
        (ElementType.U8, 250, 250),
        (ElementType.I4, -8, 0x8),
        (ElementType.I16, -2, 0xFFFE),
        (ElementType.F32, 1.0, 0x3F800000),
        (ElementType.F16, 1.0, 0x3C00),
        (ElementType.BF16, 1.01, 0x3F81),
        (ElementType.F32, float("-inf"), 0xFF800000),
    ],
)
def test_padding_is_filled_with_the_pad_value(element: ElementType, pad: float, pattern: int) -> None:
    arch = machine(types=(element,))
    nest = conv_nest(arch)
    reads = (replace(nest.reads[0], type=element, pad=pad, zero_point=0), *nest.reads[1:])
    assert configuration(replace(nest, reads=reads), arch)[0][1]["fill"] == pattern


def test_an_empty_nest_is_its_fence() -> None:
    arch = machine()
    assert emit_nest(conv_nest(arch, n=0), arch, {}) == pack(Opcode.FENCE, 1, {}).tobytes()


def test_a_schedule_of_too_many_tiles_is_refused() -> None:
    arch = machine()
    nest = allocate_buffers(conv_nest(arch, m=1 << 12, p=1 << 12, tiles=[("m", 1), ("p", 1)]), arch)
    with pytest.raises(CompileError, match=f"16777216 tiles; at most {MAX_ITERATIONS}"):
        emit_nest(nest, arch, ADDRESSES)


def regions_of(arch: Arch) -> Iterator[tuple[str, str, str | None, str | None, int, int]]:
    for each in emit_program(allocate(small_module(arch), arch), arch).regions:
        yield each.name, each.where, each.dataflow, each.im2col, each.first, each.last


def test_a_program_has_one_region_a_layer() -> None:
    assert list(regions_of(machine())) == [
        ("conv", "accelerator", "ws", "implicit", 0, 57),
        ("pool", "accelerator", None, "none", 58, 69),
        ("labels", "host", None, None, 70, 70),
    ]


def test_a_module_that_is_not_ready_is_refused_with_every_reason() -> None:
    arch = machine()
    module = small_module(arch)
    nest = module.operations[0]
    assert isinstance(nest, Nest)
    operations = (Node("add", "add", (), ()), replace(nest, schedule=None), *module.operations[1:])
    with pytest.raises(CompileError) as caught:
        emit(replace(module, operations=operations), arch)
    found = [each.message for each in caught.value.diagnostics]
    assert found[:2] == ["add 'add' is still a graph operator", "nest 'conv' has no schedule"]
    assert "nest 'pool': 'buffer of y' has no address" in found


def test_the_program_holds_only_the_blobs_that_it_needs() -> None:
    arch = machine()
    module = small_module(arch)
    module.blobs.add(b"of no use")
    emitted = emit(allocate(module, arch), arch)
    assert emitted.header.last_pass == "emit"
    assert emitted.program is not None
    assert len(emitted.program.blobs) == 4


def test_constants_without_bytes_leave_others_where_they_are() -> None:
    """Two of one (empty) blob around a constant that lies at their address."""
    blobs = Blobs()
    nothing, codes = blobs.add(b""), blobs.add(bytes(range(64)))
    shapes = {"before": ((0,), nothing), "codes": ((64,), codes), "after": ((0,), nothing)}
    constants = [Tensor(name, ElementType.I8, shape, constant=blob) for name, (shape, blob) in shapes.items()]
    region = HostRegion("host", tuple(shapes), ("y",), blobs.add(b"a model"))
    tensors = (*constants, Tensor("y", ElementType.I8, (4,)))
    module = Module(Header("m", "", ""), tensors, (region,), (), ("y",), blobs=blobs)
    program = emit_program(allocate(module, machine()), machine())
    assert program.constants == ((dict(allocate(module, machine()).addresses)["codes"], codes),)


def test_tolerance_follows_from_the_types_that_are_summed() -> None:
    arch = machine()
    module = small_module(arch)
    assert tolerance(module) == "exact"
    single = matmul_nest(arch, element=ElementType.F32, accumulator=ElementType.F32)
    assert tolerance(replace(module, operations=(single,))) == "relative:1e-05"
    half = matmul_nest(arch, element=ElementType.BF16, accumulator=ElementType.F32)
    assert tolerance(replace(module, operations=(half,))) == "range:0.02"
    header = replace(module.header, options=(("tolerance", "range:0.1"),))
    assert tolerance(replace(module, header=header)) == "range:0.1"


def test_a_loop_over_two_dimensions_is_no_command_loop() -> None:
    arch = machine()
    nest = allocate_buffers(conv_nest(arch), arch)
    assert nest.schedule is not None
    loops = (Loop("dram", ("p", "q"), 2), *nest.schedule.loops)
    with pytest.raises(AssertionError, match="one loop per dim"):
        emit_nest(replace(nest, schedule=replace(nest.schedule, loops=loops)), arch, ADDRESSES)
