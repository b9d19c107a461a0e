"""Parse trees to IR values: what the words of an item mean, level by level. A part of `ir/parser.py`."""

from __future__ import annotations

from .builder_graph import GraphRules
from .builder_nest import NestRules
from .builder_program import ProgramRules


class Builder(GraphRules, NestRules, ProgramRules):
    """Values of items: one method a rule of the grammar."""
