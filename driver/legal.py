"""What options may be: words, the default first, and the bounds of numbers."""

from __future__ import annotations

# What the options that a module's header records may be, the default first.
LEGAL = {
    "precision": ("auto", "keep", "int8"),
    "dataflow": ("auto", "ws", "os", "is"),
    "im2col": ("auto", "explicit", "implicit"),
    "objective": ("latency",),  # or another one: passes/objective.py
    "fuse": ("auto", "keep", "off"),
}
NOTED = ("tolerance",)  # what passes add to the header's options for later: no user gives it
SWITCH = ("on", "off")  # the default first
# Least and greatest of whole numbers; the last one bounds a run.
WHOLE = {"batch_size": (1, (1 << 31) - 1), "seed": (0, (1 << 64) - 1), "memory_limit_bytes": (1, 1 << 50)}
MOST_SECONDS = 1e9
MOST_EXTENT = 10**11  # of an axis
RESOLVED = "exact"  # what the driver makes of precision `auto` for a model that is quantised already
