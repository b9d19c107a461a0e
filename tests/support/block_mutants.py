"""Wrong copies of what counts skipped blocks, each with a mistake that somebody could make (mutants.py)."""

from __future__ import annotations

from collections.abc import Sequence

from support.mutants import Mutant

HELD, MOVED, WORK, NEST = "blocks_held.py", "skipped_transfers.py", "skipped_work.py", "nest.py"
SPLIT = "starts[:, 1:] &= ~moved[:, :-1]\n    ends[:, :-1] &= ~moved[:, 1:]"

BLOCKS: Sequence[Mutant] = (
    Mutant(
        "blocks enter in the order of the tensor",
        HELD,
        "keys.append(place // loop.size)",
        "pass",
    ),
    Mutant(
        "blocks that were zero do not enter",
        HELD,
        "mask != KEPT)",
        "mask == CREATED)",
    ),
    Mutant(
        "the cache is never full",
        HELD,
        "return self._entries - sum(others)",
        "return 1 << 30",
    ),
    Mutant(
        "every table has the whole cache",
        HELD,
        "return self._entries - sum(others)",
        "return self._entries",
    ),
    Mutant(
        "tables are never emptied",
        HELD,
        "if each.skip is not None and each.skip.last:",
        "if False:",
    ),
    Mutant(
        "zeros without a table are not stored",
        HELD,
        "if prune.table is not None:\n        pruned",
        "if True:\n        pruned",
    ),
    Mutant(
        "blocks go on from sample to sample",
        HELD,
        "axis=1)[:, : prune.points]",
        "axis=1)[:, -prune.points :]",
    ),
    Mutant(
        "look-ups of single elements",
        MOVED,
        "runs + int(begins[:, 1:].sum())",
        "begins.size",
    ),
    Mutant(
        "a look-up a run",
        MOVED,
        "runs + int(begins[:, 1:].sum())",
        "runs",
    ),
    Mutant(
        "pieces are joined",
        MOVED,
        SPLIT,
        "starts[:] = ends[:] = False\n    starts[0, 0] = ends[-1, -1] = True",
    ),
    Mutant("every element is a piece", MOVED, SPLIT, "pass"),
    Mutant(
        "skipped elements are filled",
        MOVED,
        "plain.write_bits - (whole - moved) * access.local_type.bits",
        "plain.write_bits",
    ),
    Mutant(
        "a store is not held by its test",
        MOVED,
        "tested_cycles(plain.positions, nest.prune, arch))",
        "0 * plain.positions)",
    ),
    Mutant(
        "padding is tagged",
        WORK,
        "self.found.skipped[place] & inside",
        "self.found.skipped[place]",
    ),
    Mutant(
        "a block is left out if any of it is tagged",
        WORK,
        "np.logical_and.reduceat(np.logical_and.reduceat(tagged, x, axis=1), k, axis=2)",
        "np.logical_or.reduceat(np.logical_or.reduceat(tagged, x, axis=1), k, axis=2)",
    ),
    Mutant(
        "a pass without points takes its rows",
        WORK,
        "np.where(times > 0, np.maximum(times, of_k), 0)",
        "np.maximum(times, of_k)",
    ),
    Mutant(
        "a pass takes no more than its points",
        WORK,
        "np.where(times > 0, np.maximum(times, of_k), 0)",
        "times",
    ),
    Mutant(
        "steps take no more than there are", WORK, "np.where(steps > 0, np.maximum(steps, points[:, None]), 0)", "steps"
    ),
    Mutant(
        "a still block is read for nothing",
        WORK,
        "kept * (times > 0)[:, None, :] * of_k",
        "kept * of_k",
    ),
    Mutant(
        "what is left out everywhere is not written",
        WORK,
        'fields["partial"] + fields["untouched"]',
        'fields["partial"]',
    ),
    Mutant(
        "it is written by accumulating commands, too",
        WORK,
        'fields["untouched"][tile] = 0',
        "pass",
    ),
    Mutant(
        "groups of lanes are left out if both are tagged",
        WORK,
        "edges, axis=1) & ~np",
        "edges, axis=1) | ~np",
    ),
    Mutant(
        "tags of the first tile are those of all",
        WORK,
        "*(starts[dim] for each in dims for dim in each)",
        "",
    ),
    Mutant(
        "products with padding are skipped",
        NEST,
        "skipped = macs - skipping.useful",
        "skipped = points - skipping.useful",
    ),
    Mutant(
        "what is skipped is written",
        NEST,
        "written * nest.write.type.bits",
        "positions * nest.write.type.bits",
    ),
)
