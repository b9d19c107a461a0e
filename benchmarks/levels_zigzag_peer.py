"""ZigZag's side of levels_zigzag.py: runs in an interpreter that has zigzag-dse and six, and imports nothing of dnnc.

Reads a request a line, a JSON object, and answers each with a line:

    {"accelerator": FILE, "mapping": FILE, "layer": {...}, "lpf": N}     ZigZag's own search: its best mapping by
                                                 "objective": energy or latency
    {"loops": {operand: [[[dim, factor], ...] a level, ...]}}            the last layer's cost with these temporal loops

Reads from the innermost memory wait for nothing that the multipliers would hold from cycle to cycle
(`access_same_data_considered_as_no_access` is off), as in dnnc.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from zigzag.cost_model.cost_model import CostModelEvaluation
from zigzag.datatypes import LayerDim
from zigzag.mapping.temporal_mapping import TemporalMapping, TemporalMappingType
from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
from zigzag.stages.main import MainStage
from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
from zigzag.stages.parser.workload_parser import WorkloadParserStage
from zigzag.stages.results.reduce_stages import MinimalEnergyStage, MinimalLatencyStage
from zigzag.stages.workload_iterator import WorkloadStage

LEAST = {"energy": MinimalEnergyStage, "latency": MinimalLatencyStage}


def search(request: dict[str, Any]) -> Any:
    """The best evaluation of ZigZag's default search, as `get_hardware_performance_zigzag` sets it up."""
    least = LEAST[request["objective"]]
    stages = [WorkloadParserStage, AcceleratorParserStage, WorkloadStage, least, SpatialMappingGeneratorStage, least,
              TemporalMappingGeneratorStage, CostModelStage]  # fmt: skip
    stage = MainStage(
        list_of_callables=stages,
        accelerator=request["accelerator"],
        workload=[request["layer"]],
        mapping=request["mapping"],
        loma_lpf_limit=request["lpf"],
        loma_show_progress_bar=False,
        nb_mappings_generated=3,
        enable_mix_spatial_mapping_generation=False,
        access_same_data_considered_as_no_access=False,
        temporal_mapping_type=TemporalMappingType.UNEVEN,
    )
    return stage.run()[0][0]


def evaluate(best: Any, loops: dict[str, Any]) -> Any:
    """The same layer, machine and spatial mapping with other temporal loops."""
    operands = {operand.name: operand for operand in best.layer.layer_operands}
    levels = {
        operands[name]: [[(LayerDim(dim), factor) for dim, factor in level] for level in found]
        for name, found in loops.items()
    }
    return CostModelEvaluation(
        accelerator=best.accelerator,
        layer=best.layer,
        spatial_mapping=best.spatial_mapping,
        spatial_mapping_int=best.spatial_mapping_int,
        temporal_mapping=TemporalMapping(levels, best.layer, TemporalMappingType.UNEVEN),
        access_same_data_considered_as_no_access=False,
    )


def described(found: Any) -> dict[str, Any]:
    """Energy (pJ), cycles, loops by operand and level from the innermost, and lanes by dimension."""
    lanes: dict[str, float] = {}
    for dim, factor in found.spatial_mapping.spatial_loop_dim_size:
        lanes[dim.name] = lanes.get(dim.name, 1) * factor
    return {
        "energy": found.energy_total,
        "cycles": found.latency_total2,
        "loops": {
            operand.name: [[(dim.name, factor) for dim, factor in level] for level in levels]
            for operand, levels in found.temporal_mapping.mapping_dic_origin.items()
        },
        "lanes": lanes,
    }


def main() -> None:
    logging.disable(logging.CRITICAL)
    answers, sys.stdout = sys.stdout, sys.stderr  # what ZigZag prints is no answer
    best = None
    for line in sys.stdin:
        request = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        if "loops" in request:
            found = evaluate(best, request["loops"])
        else:
            found = best = search(request)
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**described(found), **seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
