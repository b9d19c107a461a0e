"""Mutations of texts, for `fuzz`: trees (YAML, JSON) and words."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import yaml
from dnnc.benchmarks.fuzz_bytes import FLOATS, INTEGERS, Rng


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from _paths(tree[key], (*path, key))
    elif isinstance(tree, list):
        for index in range(len(tree)):
            yield from _paths(tree[index], (*path, index))


def mutate_tree(tree: Any, rng: Rng) -> Any:
    """One to three values removed, repeated, renamed, swapped or replaced by extreme ones."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = list(_paths(tree))
        if not paths:
            return tree
        *way, last = rng.choice(paths)
        parent = tree
        for step in way:
            parent = parent[step]
        action = rng.randrange(6)
        if action == 0:
            del parent[last]
        elif action == 1 and isinstance(parent, dict):
            parent[f"{last}{rng.choice('_s2')}"] = parent.pop(last)
        elif action == 1:
            parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(parent[last]))
        elif action == 2:
            other = tree
            for step in rng.choice(paths):
                if isinstance(other, dict | list):
                    other = other[step] if step in other or isinstance(other, list) else other
            parent[last] = copy.deepcopy(other) if len(str(other)) < 10_000 else []
        else:
            parent[last] = _tree_value(parent[last], rng)
    return tree


def _tree_value(old: Any, rng: Rng) -> Any:
    if isinstance(old, int) and not isinstance(old, bool) and rng.random() < 0.7:
        return rng.choice((*INTEGERS, old - 1, old + 1, old * 2, old // 2, old * 1000, -old))
    if isinstance(old, str) and rng.random() < 0.3:
        return rng.choice((old + "x", old[:-1], old.upper(), old * 3))
    return rng.choice((*INTEGERS, *FLOATS, 10**40, None, True, "", "nan", "x" * 5000, [], {}, [[[]]], {"a": 1}))


ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def mutate_yaml(text: str, rng: Rng) -> bytes:
    """The tree or the lines changed; now and then an alias bomb, deep nesting, tags, other encodings."""
    action = rng.random()
    if action < 0.5:
        return yaml.safe_dump(mutate_tree(yaml.safe_load(text), rng), sort_keys=False, allow_unicode=True).encode()
    if action < 0.85:
        lines = text.splitlines()
        for _ in range(rng.choice((1, 1, 2, 5))):
            rng.choice(_LINES)(lines, rng)
        return "\n".join(lines).encode()
    return rng.choice(
        (
            (ALIAS_BOMB + text).encode(),
            (text + "x: " + "[" * 100_000).encode(),
            (text + "".join("  " * level + "k:\n" for level in range(400))).encode(),
            (text + "x: {" * 5000).encode(),
            (text + "x: !!python/object/apply:os.system ['true']\n").encode(),
            (text + "---\n" + text).encode(),
            text.encode("utf-16"),
            text.encode() + b"\xff\xfe",
            b"",
            b"# nothing\n",
            (text + f"huge: {'9' * 100_000}\n").encode(),
            (text + f"'{'k' * 200_000}': 1\n").encode(),
            text.replace(": ", ": 1e999999999 #").encode(),
            ("? " * 3000 + text).encode(),
            ("- " * 3000 + text).encode(),
        )
    )


def _line_deleted(lines: list[str], rng: Rng) -> None:
    if lines:
        del lines[rng.randrange(len(lines))]


def _line_repeated(lines: list[str], rng: Rng) -> None:
    if lines:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))


def _line_indented(lines: list[str], rng: Rng) -> None:
    if lines:
        at = rng.randrange(len(lines))
        lines[at] = rng.choice((" ", "  ", "\t", "- ", "? ")) + lines[at] if rng.random() < 0.6 else lines[at].lstrip()


def _line_number(lines: list[str], rng: Rng) -> None:
    if lines:
        at = rng.randrange(len(lines))
        value = str(rng.choice((*INTEGERS, *FLOATS, "nan", ".nan", ".inf", "1e400", "0x" + "f" * 30, "1:30", "~")))
        lines[at] = re.sub(r"[0-9][0-9_.e+]*", lambda _: value, lines[at], count=1)


_LINES = (_line_deleted, _line_repeated, _line_indented, _line_number, _line_number)


_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"|[%@.]?[A-Za-z0-9_]+(?:[.:-][A-Za-z0-9_]+)*|[^\sA-Za-z0-9]|\s+')


def mutate_words(text: str, rng: Rng) -> bytes:
    """One to four words removed, repeated, exchanged, replaced by another of the text or by an extreme number."""
    words = _WORD.findall(text)
    visible = [index for index, word in enumerate(words) if not word.isspace()]
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not visible:
            break
        at, other = rng.choice(visible), rng.choice(visible)
        action = rng.randrange(7)
        if action == 0:
            words[at] = ""
        elif action == 1:
            words[at] = f"{words[at]} {words[at]}"
        elif action == 2:
            words[at], words[other] = words[other], words[at]
        elif action == 3:
            words[at] = words[other]
        else:
            numbers = [index for index in visible if words[index][:1].isdigit()] or visible
            at = rng.choice(numbers)
            values = (*INTEGERS, "0.5", "1e400", "inf", "nan", "0x10", "9" * 30, "9" * 5000, "1 x999999999")
            is_number = words[at].isdecimal() and len(words[at]) < 100
            near = (int(words[at]) + rng.choice((-1, 1)), int(words[at]) * 2) if is_number else values
            words[at] = str(rng.choice(near if rng.random() < 0.5 else values))
    return "".join(words).encode()
