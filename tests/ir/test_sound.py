"""What was found sound is not looked at again, and hides nothing that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from dnnc.ir import schedule_rules, sound
from dnnc.ir.affine import Affine
from dnnc.ir.nest import BodyOp, Dataflow, Nest, PostOp, Role, Target
from dnnc.ir.schedule_rules import schedule_faults
from dnnc.ir.sound import Sound
from dnnc.ir.types import ElementType
from dnnc.ir.verifier import verify
from support.chains import chain
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest

ARCH = machine()
CONV = conv_nest(ARCH, m=6, p=6, q=5, c=5, tiles=[("p", 2), ("m", 4)])
NESTS = [CONV, matmul_nest(ARCH, tiles=[("p", 3)]), max_pool_nest(ARCH)]


def others(value: object) -> list[Any]:
    """Other values than this one, of its kind or not."""
    match value:
        case bool():
            return [not value]
        case int():
            return [0, -1, value + 1, 10**6]
        case float():
            return [-1.0, float("nan")]
        case str():
            return ["", f"{value}x", "spad", "acc", "dram"]
        case Dataflow() | BodyOp() | PostOp() | Role() | ElementType():
            return [each for each in type(value) if each is not value]
        case Affine():
            return [Affine(), Affine.of({"m": 2, "p": 1}, 1)]
        case None:
            return [0, 4, (1, 1, 1, 1, 1, 1, 1, 1), Target("spad", (1, 6, 5, 6), (0,) * 8), Target("acc", (3,), (0, 0))]
        case tuple():
            changed = [(*value[:at], other, *value[at + 1 :]) for at, one in enumerate(value) for other in others(one)]
            return [(), value[1:], (*value, *value[:1]), *changed]
    names = [each.name for each in fields(value)]
    return [replace(value, **{name: other}) for name in names for other in others(getattr(value, name))]


def mutants(nest: Nest) -> Iterator[Nest]:
    """The nest with one thing changed, at any depth."""
    for each in fields(nest):
        if each.name in ("domain", "reads", "write", "body", "accumulator", "post", "schedule"):
            for other in others(getattr(nest, each.name)):
                yield replace(nest, **{each.name: other})


def messages(nest: Nest) -> list[str] | str:
    """What the rules say; an exception where the nest is not sound otherwise, which they ask for."""
    try:
        return [str(each) for each in schedule_faults(nest, ARCH)]
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("nest", NESTS, ids=lambda nest: nest.name)
def test_a_schedule_that_was_found_sound_hides_no_fault(nest: Nest) -> None:
    found = {"sound": 0, "faulty": 0}
    for mutant in mutants(nest):
        schedule_rules._sound.clear()
        alone = messages(mutant)
        assert messages(nest) == []
        assert messages(mutant) == alone
        found["faulty" if alone else "sound"] += 1
    assert min(found.values()) > 30


def test_only_what_is_its_own_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule_rules._sound.clear()
    assert not list(schedule_faults(CONV, ARCH))
    seen: list[Nest] = []
    whole = schedule_rules.commands_fit_their_fields
    monkeypatch.setattr(schedule_rules, "commands_fit_their_fields", lambda nest: seen.append(nest) or whole(nest))
    assert CONV.schedule is not None
    renamed = replace(CONV, name="other", reads=tuple(replace(each, tensor=f"{each.tensor}2") for each in CONV.reads))
    certified = replace(CONV, schedule=replace(CONV.schedule, objective=float("nan"), reason="other"))
    placed = [replace(each, address=number) for number, each in enumerate(CONV.schedule.buffers)]
    allocated = replace(CONV, schedule=replace(CONV.schedule, buffers=tuple(placed)))
    assert not list(schedule_faults(renamed, ARCH))
    assert ["objective" in str(each) for each in schedule_faults(certified, ARCH)] == [True]
    assert any("overlap" in str(each) for each in schedule_faults(allocated, ARCH))
    assert not seen
    assert not list(schedule_faults(CONV, machine(spad_bytes=1 << 17)))
    assert len(seen) == 1


def test_what_changed_in_a_module_is_looked_at() -> None:
    module = chain(ARCH, CONV, conv_nest(ARCH, m=7, p=6, q=5, c=6, tiles=[("m", 4), ("p", 4)]))
    assert verify(module, ARCH) == []
    tensor = module.tensors[0]
    wrong = replace(module, tensors=(replace(tensor, minimum=2.0, maximum=1.0), *module.tensors[1:]))
    for _ in range(2):
        assert [each.message for each in verify(wrong, ARCH)] == [f"tensor %{tensor.name}: its range is 2.0 to 1.0"]
    assert verify(module, ARCH) == []


def test_many_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "_MOST", 2)
    known, things = Sound(), [[], [], []]
    for each in things:
        assert not known.has(each)
        known.note(each)
        assert known.has(each)
    assert not known.has(things[0])
    assert not known.has(things[2], things[2])
