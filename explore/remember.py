"""What workers are asked for beside the points of a search, each thing once: it is stored as soon as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .problem import Figures, known_figures
from .store import Known, Store
from .workers import Task, Workers


def asked_once(
    store: Store, known: Known, workers: Workers, task: Task, jobs: Sequence[tuple[str, tuple[Any, ...]]]
) -> list[Figures]:
    """The figures of `task(providers, *arguments)` for each job of a key and arguments, in their order. The key says
    all that decides them: what this store or an earlier one has under it is not computed."""
    found = {key: figures for key, _ in jobs if (figures := store.part(key) or known.part(key)) is not None}
    wanted = {key: arguments for key, arguments in jobs if key not in found}
    keys = list(wanted)
    for number, figures in workers.each(task, ((k, wanted[key]) for k, key in enumerate(keys))):
        found[keys[number]] = known_figures(figures)
        store.add_parts({keys[number]: found[keys[number]]})
    return [found[key] for key, _ in jobs]
