"""The text of modules: examples of specs/ir.md, numbers, round trips."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.blocks import CRITERIA, BlockTest
from dnnc.ir.graph import OPERATORS, HostRegion, Node, Stage, ValueType
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import (
    Access,
    Body,
    BodyOp,
    Buffer,
    Dataflow,
    Dim,
    Loop,
    Nest,
    Post,
    PostOp,
    Prune,
    Role,
    Schedule,
    Stripe,
    Target,
)
from dnnc.ir.parser import parse_module, parse_nest, parse_node
from dnnc.ir.printer import print_module, print_nest, print_node
from dnnc.ir.program import HostCall, Placement, Program, Region
from dnnc.ir.text import RESERVED, read_number, read_number_list, real
from dnnc.ir.types import BlobRef, ElementType, HostType, Quantization, Tensor
from dnnc.ir.verifier import verify
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.values import module_of

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "specs/ir.md").read_text(encoding="utf-8"), re.S | re.M)
GEMMINI16 = machine(16, 16, name="gemmini16", spad_bytes=1 << 18, acc_bytes=1 << 16, lanes=16)

# ---------------------------------------------------------------------------------------------- the page


@pytest.mark.parametrize(("kind", "text"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_the_page_parse_and_print_back(kind: str, text: str) -> None:
    if kind == "nest":
        assert parse_nest(print_nest(parse_nest(text))) == parse_nest(text)
    elif kind == "node":
        assert parse_node(print_node(parse_node(text))) == parse_node(text)
    else:
        assert kind == "dnnir"
        assert parse_module(print_module(parse_module(text))) == parse_module(text)


def test_examples_are_printed_as_the_printer_prints() -> None:
    for kind, text in EXAMPLES:
        plain = re.sub(r" *//[^\n]*", "", text)
        printed = print_nest(parse_nest(text)) if kind == "nest" else None
        printed = print_node(parse_node(text)) if kind == "node" else printed
        if printed is not None:
            assert printed == plain


@pytest.mark.parametrize("text", [text for kind, text in EXAMPLES if kind == "nest"])
def test_nests_of_the_page_are_legal_on_a_gemmini(text: str) -> None:
    assert verify(module_of(parse_nest(text)), GEMMINI16) == []


def test_the_page_names_every_rule() -> None:
    """The table of rules is complete: every public generator of the rule files is in it."""
    page = (ROOT / "specs/ir.md").read_text(encoding="utf-8")
    for name in ("graph_rules", "nest_rules", "block_rules", "cover_rules", "schedule_rules"):
        source = (ROOT / f"ir/{name}.py").read_text(encoding="utf-8")
        for rule in re.findall(r"^def ([a-z]\w+)\([^)]*\) -> Iterator\[Diagnostic\]", source, re.M):
            assert rule in page or rule.endswith("_faults")


# ---------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        0.1,
        float(np.float32(0.1)),
        3.4028234663852886e38,
        1e300,
        math.inf,
        -math.inf,
        16777217.0,
    ],
)
def test_reals_read_back_bit_for_bit(value: float) -> None:
    read = read_number(real(value))
    assert isinstance(read, float)
    assert np.float64(read).tobytes() == np.float64(value).tobytes()


def test_nan_reads_back_as_nan() -> None:
    assert math.isnan(read_number(real(math.nan)))


@given(st.floats(width=32, allow_nan=False))
@settings(deadline=None, max_examples=300)
def test_float32_values_have_short_literals(value: float) -> None:
    literal = real(value)
    assert not literal.endswith("d")
    assert len(literal) <= 20
    assert np.float64(read_number(literal)).tobytes() == np.float64(value).tobytes()


def test_runs_are_expanded_and_bounded() -> None:
    assert read_number_list("(0 x10, 1, -2.5)") == (*(0,) * 10, 1, -2.5)
    for text in ("(0 x99999999)", "(0 xx)", "(1_0)", "(1,,2)", "(0x10 x3)", "(0 x-1)"):
        with pytest.raises(ValueError, match=r"."):
            read_number_list(text)


# ---------------------------------------------------------------------------------------------- round trips

NAMES = st.one_of(
    st.sampled_from(
        ["x", "/conv1/Conv_output_0", "y:0", "a//b", "a-b-", "-", "", "%", "@", '"', "\\", "\n\t\r", "é", "\x00"]
    ),
    st.sampled_from(sorted(RESERVED)),
    st.text(max_size=8),
)
INTS = st.integers(-(1 << 62), 1 << 62)
SMALL = st.integers(-3, 9)
FLOATS = st.one_of(
    st.sampled_from([1e-45, -0.0, math.inf, -math.inf, 0.1]),
    st.floats(width=32, allow_nan=False),
    st.floats(allow_nan=False),
)
TYPES = st.sampled_from(list(ElementType))
SHAPES = st.lists(st.integers(0, 1000), max_size=4).map(tuple)
BLOBS = st.sampled_from(["0" * 64, "ab" * 32]).map(BlobRef)
ATTRIBUTES = st.lists(
    st.tuples(
        NAMES,
        st.one_of(
            INTS,
            FLOATS,
            st.booleans(),
            NAMES,
            st.sampled_from(["true", "inf", "nan", "1", "i8"]),
            st.lists(INTS, max_size=20).map(tuple),
            st.lists(FLOATS, max_size=3).map(tuple),
            st.just((0,) * 30),
        ),
    ),
    max_size=3,
).map(tuple)
QUANTIZATIONS = st.one_of(
    st.none(),
    st.builds(
        Quantization,
        st.lists(FLOATS, max_size=12).map(tuple),
        st.lists(INTS, max_size=12).map(tuple),
        st.one_of(st.none(), SMALL),
    ),
)
VALUE_TYPES = st.builds(ValueType, TYPES, QUANTIZATIONS)
NAME_TUPLES = st.lists(NAMES, max_size=3).map(tuple)
NODES = st.builds(
    Node,
    NAMES,
    st.sampled_from(sorted(OPERATORS)),
    NAME_TUPLES,
    NAME_TUPLES,
    ATTRIBUTES,
    st.lists(
        st.builds(
            Stage,
            st.sampled_from(["relu", "clip", "leaky_relu", "table", "add", "mul", "quantize", "dequantize"]),
            VALUE_TYPES,
            st.one_of(st.none(), NAMES),
            ATTRIBUTES,
        ),
        max_size=3,
    ).map(tuple),
    st.one_of(st.none(), VALUE_TYPES),
    NAME_TUPLES,
    NAMES,
)
REGIONS = st.builds(HostRegion, NAMES, NAME_TUPLES, NAME_TUPLES, BLOBS, NAME_TUPLES, NAMES, st.one_of(st.none(), SMALL))
TENSOR_TYPES = st.one_of(TYPES, NAMES.map(HostType))
OPTIONAL_ORDERS = st.one_of(st.none(), st.lists(SMALL, max_size=4).map(tuple))
TENSORS = st.builds(
    Tensor,
    NAMES,
    TENSOR_TYPES,
    st.one_of(st.none(), SHAPES),
    QUANTIZATIONS,
    st.one_of(st.none(), BLOBS),
    OPTIONAL_ORDERS,
    st.one_of(st.none(), FLOATS),
    st.one_of(st.none(), FLOATS),
)
AFFINES = st.builds(Affine.of, st.dictionaries(NAMES, SMALL, max_size=3), SMALL)
ACCESSES = st.builds(
    Access,
    NAMES,
    NAMES,
    st.sampled_from(list(Role)),
    TYPES,
    SHAPES,
    st.lists(AFFINES, max_size=3).map(tuple),
    st.one_of(st.none(), SMALL, FLOATS),
    SMALL,
)
LOOPS = st.builds(
    Loop,
    st.one_of(st.sampled_from(["dram", "array"]), NAMES),
    st.lists(st.one_of(st.sampled_from(["a", "b"]), NAMES), max_size=3).map(tuple),
    SMALL,
    st.one_of(st.just(""), st.sampled_from(["rows", "cols", "lanes"]), NAMES),
)
ADDRESSES = st.one_of(st.none(), st.integers(0, 99))
MARGINS = st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any).map(tuple)
SCHEDULES = st.builds(
    Schedule,
    st.sampled_from(list(Dataflow)),
    st.sampled_from(["explicit", "implicit", "none"]),
    st.lists(LOOPS, max_size=4).map(tuple),
    st.lists(
        st.one_of(
            st.builds(Buffer, NAMES, NAMES, st.integers(0, 3), st.lists(SMALL, max_size=3).map(tuple), ADDRESSES),
            st.builds(Buffer, NAMES, NAMES, address=ADDRESSES, margins=MARGINS),
        ),
        max_size=3,
    ).map(tuple),
    NAMES,
    FLOATS,
    FLOATS,
    st.integers(0, 9),
    st.integers(0, 9),
    st.booleans(),
    st.one_of(st.none(), st.builds(Target, NAMES, st.lists(SMALL, max_size=3).map(tuple), MARGINS, ADDRESSES)),
)
BLOCK_TESTS = st.builds(
    BlockTest, st.sampled_from(CRITERIA), st.integers(0, 1 << 40), st.integers(0, 99), st.integers(0, 99)
)
NESTS = st.builds(
    Nest,
    NAMES,
    st.lists(st.builds(Dim, st.one_of(st.sampled_from(["a", "b"]), NAMES), SMALL), max_size=3).map(tuple),
    st.lists(ACCESSES, max_size=3).map(tuple),
    ACCESSES,
    st.builds(
        Body,
        st.sampled_from(list(BodyOp)),
        NAMES,
        st.one_of(st.none(), NAMES),
        st.sampled_from(["", "subtract", "raw"]),
        st.one_of(st.just("exact"), NAMES),
        ATTRIBUTES,
    ),
    TYPES,
    st.lists(st.builds(Post, st.sampled_from(list(PostOp)), st.one_of(st.none(), NAMES), ATTRIBUTES), max_size=3).map(
        tuple
    ),
    st.one_of(st.none(), SCHEDULES),
    NAME_TUPLES,
    NAMES,
    NAMES,
    st.one_of(st.none(), st.builds(Stripe, NAMES, SMALL, SMALL)),
    st.one_of(st.none(), st.builds(Prune, BLOCK_TESTS, st.integers(0, 999), st.integers(0, 999), SMALL)),
)
PROGRAMS = st.builds(
    Program,
    model=NAMES,
    arch_text=st.one_of(st.just("a: 1\nb: 2\n\n"), NAMES),
    batch=SMALL,
    code=st.one_of(st.just(bytes(128)), st.binary(max_size=200)),
    regions=st.lists(
        st.builds(
            Region,
            NAMES,
            NAMES,
            NAMES,
            SMALL,
            SMALL,
            st.one_of(st.none(), NAMES),
            st.one_of(st.none(), NAMES),
            NAME_TUPLES,
        ),
        max_size=2,
    ).map(tuple),
    placements=st.lists(
        st.builds(
            Placement, NAMES, TENSOR_TYPES, st.one_of(st.none(), SHAPES), OPTIONAL_ORDERS, st.one_of(st.none(), SMALL)
        ),
        max_size=2,
    ).map(tuple),
    constants=st.lists(st.tuples(SMALL, BLOBS), max_size=2).map(tuple),
    host_calls=st.lists(st.builds(HostCall, NAMES, NAME_TUPLES, NAME_TUPLES, BLOBS, SMALL), max_size=2).map(tuple),
    inputs=NAME_TUPLES,
    outputs=NAME_TUPLES,
    main_bytes=SMALL,
    tolerance=NAMES,
    blobs=st.dictionaries(BLOBS, st.just(b"")).map(lambda blobs: dict(sorted(blobs.items()))),
)
MODULES = st.builds(
    Module,
    st.builds(Header, NAMES, NAMES, NAMES, SMALL, NAMES, st.lists(st.tuples(NAMES, NAMES), max_size=2).map(tuple)),
    st.lists(TENSORS, max_size=3).map(tuple),
    st.lists(st.one_of(NODES, REGIONS, NESTS), max_size=3).map(tuple),
    NAME_TUPLES,
    NAME_TUPLES,
    st.lists(st.tuples(NAMES, SMALL), max_size=2).map(tuple),
    st.one_of(st.none(), PROGRAMS),
)


def same(left: object, right: object) -> bool:
    """Equality that also tells -0.0 from 0.0 and 1 from 1.0, which repr does."""
    return left == right and repr(left) == repr(right)


@given(NODES)
@settings(deadline=None, max_examples=100)
def test_any_node_round_trips(node: Node) -> None:
    assert same(parse_node(print_node(node)), node)


@given(NESTS)
@settings(deadline=None, max_examples=150)
def test_any_nest_round_trips(nest: Nest) -> None:
    assert same(parse_nest(print_nest(nest)), nest)


@given(MODULES)
@settings(deadline=None, max_examples=100)
def test_any_module_round_trips(module: Module) -> None:
    assert same(parse_module(print_module(module)), module)


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_words_of_the_grammar_serve_as_names(word: str) -> None:
    dims = (Dim(word, 4),)
    index = (Affine.of({word: 1}),)
    nest = Nest(
        word,
        dims,
        (Access("x", word, Role.INPUT, ElementType.I8, (4,), index),),
        Access("y", "y", Role.OUTPUT, ElementType.I8, (4,), index),
        Body(BodyOp.COPY, "x", multiplier=word, attributes=((word, word),)),
        ElementType.I32,
        (),
        Schedule(
            Dataflow.VECTOR, "none", (Loop(word, (word,), 1), Loop(word, (word, word), 2, word)), (Buffer("x", word),)
        ),
        operator=word,
    )
    assert parse_nest(print_nest(nest)) == nest


def test_every_keyword_is_reserved() -> None:
    grammar = (ROOT / "ir/grammar.lark").read_text(encoding="utf-8")
    keywords = set(re.findall(r'"([a-z]\w+)"', grammar)) - {"value"}  # `value` never stands where a name may
    assert keywords <= RESERVED | {"im2col"}


def test_values_of_tables_are_indexed_readably() -> None:
    nest = conv_nest(machine())
    table = Access("lut", "lut", Role.AUX, ElementType.I8, (256,), (Affine.of({"value": 1}, 128),))
    steps = (*nest.post, Post(PostOp.TABLE, "lut", (("minimum", -128), ("type", "i8"))))
    nest = replace(nest, reads=(*nest.reads, table), post=steps, schedule=None)
    assert "read   %lut : i8[256] at (value + 128)" in print_nest(nest)
    assert parse_nest(print_nest(nest)) == nest


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_shared_nests_round_trip(dataflow: str) -> None:
    for nest in (
        conv_nest(machine(), dataflow=dataflow, tiles=(("m", 4), ("p", 3))),
        matmul_nest(machine(), dataflow=dataflow, tiles=(("p", 2), ("k", 4))),
        max_pool_nest(machine(), tiles=(("p", 2),)),
    ):
        assert parse_nest(print_nest(nest)) == nest


def test_spans_say_where_an_operation_stands() -> None:
    text = EXAMPLES[0][1]
    module = parse_module(text, "tiny.dnnir")
    for operation in module.operations:
        line = text.split("\n")[operation.span.line - 1]
        assert operation.span.file == "tiny.dnnir"
        assert line[operation.span.column - 1 :].startswith("@")
