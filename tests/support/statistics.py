"""Documents of statistics that no model makes: any number of layers, any names, points of a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>&\"'`${x}\u202e\x00\ud800]]>"


def nest(steps: int = 4) -> dict[str, Any]:
    """A product of 64 x 64 x 64: `steps` tiles from main memory, then blocks on an array of 16 x 16."""
    return {
        "dims": {"m": 64, "n": 64, "k": 64},
        "operands": [
            {"name": "x", "role": "input", "dims": ["m", "k"]},
            {"name": "w", "role": "weight", "dims": ["n", "k"]},
            {"name": "y", "role": "output", "dims": ["m", "n"]},
        ],
        "loops": [
            loop("dram", ["m"], 64, -(-64 // steps), steps),
            loop("spad", ["n"], 64, 16, 4),
            loop("spad", ["k"], 64, 16, 4),
            loop("array", ["k"], 16, 1, 16, "rows"),
            loop("array", ["n"], 16, 1, 16, "cols"),
            loop("array", ["m"], 16, 1, 16),
        ],
        "buffers": [
            {"operand": "x", "memory": "spad", "copies": 2, "bytes": 1024, "outer_loops": 1},
            {"operand": "w", "memory": "spad", "copies": 1, "bytes": 4096, "outer_loops": 1},
            {"operand": "y", "memory": "acc", "copies": 1, "bytes": 4096, "outer_loops": 1},
        ],
    }


def loop(level: str, dims: list[str], extent: int, tile: int, iterations: int, axis: str = "") -> dict[str, Any]:
    return {"level": level, "dims": dims, "extent": extent, "tile": tile, "iterations": iterations, "axis": axis}


def layer(name: str, cycles: int = 1000, *, points: list[list[float]] | None = None) -> dict[str, Any]:
    mapping = {
        "optimal": True,
        "objective": float(cycles),
        "lower_bound": float(cycles),
        "evaluated": 7,
        "nest": nest(),
        **({"points": points} if points is not None else {}),
    }
    moved = {"read_bytes": 4096, "write_bytes": 0}
    return {
        "name": name,
        "op": "matmul",
        "where": "accelerator",
        "dataflow": "ws",
        "im2col": None,
        "macs": 64**3,
        "macs_issued": 64**3,
        "macs_skipped": 0,
        "cycles": cycles,
        "bound": "compute",
        "busy_cycles": {"array": 0.9 * cycles, "dram": 0.4 * cycles},
        "utilization": 64**3 / (512 * cycles),
        "energy_pj": {"array": 2.0e5, "dram": 3.0e5 + cycles, "spad": 1.0e5},
        "instructions": {"compute": 4, "load": 8},
        "traffic": {
            "dram": {
                "input": dict(moved),
                "weight": dict(moved),
                "output": {"read_bytes": 0, "write_bytes": 4096},
                "instruction": dict(moved),
            },
            "spad": {"input": {"read_bytes": 65536, "write_bytes": 4096}},
        },
        "overflows": 0,
        "mapping": mapping,
    }


def document(layers: list[dict[str, Any]], **others: Any) -> dict[str, Any]:
    """Of `layers`; `others` replace keys of the document."""
    cycles = sum(each["cycles"] for each in layers)
    return {
        "schema": "dnnc.stats/1",
        "source": "cost",
        "model": "synthetic",
        "arch": "machine",
        "kind": "executable",
        "machine": {
            "clock_hz": 1_000_000_000,
            "macs_per_cycle": 512,
            "memories": [
                {"name": "dram", "capacity_bytes": 1 << 34, "bytes_per_cycle": 16.0},
                {"name": "spad", "capacity_bytes": 1 << 18, "bytes_per_cycle": 64.0},
                {"name": "acc", "capacity_bytes": 1 << 16, "bytes_per_cycle": None},
            ],
        },
        "batch": 1,
        "total": {
            "cycles": cycles,
            "seconds": cycles / 1e9,
            "macs": sum(each["macs"] for each in layers),
            "energy_pj": sum(sum(each["energy_pj"].values()) for each in layers),
            "area_um2": None,
            "utilization": 0.5,
            "instructions": 12 * len(layers),
            "inferences_per_second": 1e9 / cycles if cycles else None,
            "power_w": None,
        },
        "layers": layers,
        "provenance": {"cycles": "a test"},
        **others,
    }


def save(folder: Path, value: object, name: str = "stats.json") -> str:
    path = folder / name
    path.write_text(json.dumps(value))
    return str(path)
