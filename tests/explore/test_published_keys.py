"""Workload files of the published Spex: what they mean here, and that nothing of them is left out silently."""

from __future__ import annotations

import pytest
from dnnc.explore.published_keys import is_published, translated
from dnnc.explore.study_yaml import _plain
from dnnc.frontend.yaml_faults import Faults
from dnnc.frontend.yaml_reader import MapNode, read_yaml
from dnnc.ir.diagnostics import CompileError

# The listing of the thesis (5.1), with the keys of the repository's template beside it.
WORKLOAD = """\
workload:
  problem:
    gpu_id: 1
    problem_function: sparsity_problem
  model:
    type: yolov5s
    accuracy_function: detection_accuracy
  exploration:
    nsga: # Setup the parameters for your nsga algorithm
      pop_size: 20
      offsprings: 20
      generations: 20
      mutation_eta: 20
      mutation_prob: 0.9
      crossover_eta: 30
      crossover_prob: 0.7
      ftol: 0.04
    minimum_accuracy: 0.33 # accuracy constraint
    predefined_parameters: [0.005, 0.01]
    datasets:
      exploration:
        type: cifar10
        path: images
        sample_limit: null # number of validation to test
        batch_size: 128
    extra_args:
      discrete_threshold_steps: 200
      discrete_threshold_method: linear
      threshold_limit: 0.15
      block_size: [8,16]
      num_bits_upper_limit: 14
      collect_sparsity_details: False
"""


def study(text: str) -> tuple[dict[str, object], list[str]]:
    faults = Faults(text, "workload.yaml")
    root = read_yaml(text, faults)
    assert isinstance(root, MapNode)
    assert is_published(root)
    warnings: list[str] = []
    found = translated(root, faults, warnings)
    faults.raise_if_any()
    return _plain(found), warnings


SPARSITY = {
    "model": "yolov5s.onnx",
    "arch": "sparse_blox16",
    "accuracy": {"metric": "map", "data": "images"},
    "sparsity": {
        "criterion": "mean",
        "meaning": "consumer_im2col",
        "steps": 200,
        "method": "linear",
        "limit": 0.15,
        "block": [16, 8],
    },
    "algorithm": {
        "name": "nsga2",
        "population": 20,
        "offspring": 20,
        "generations": 20,
        "mutation_probability": 0.9,
        "mutation_eta": 20,
        "crossover_probability": 0.7,
        "crossover_eta": 30,
        "tolerance": 0.04,
    },
    "objectives": ["max accuracy", "max created_blocks"],
    "constraints": ["accuracy >= 0.33"],
    "predefined": [0.005, 0.01],
}


def test_the_published_listing() -> None:
    found, warnings = study(WORKLOAD)
    assert found == SPARSITY
    told = ["gpu_id", "type", "batch_size", "num_bits_upper_limit", "collect_sparsity_details"]
    for word in told:
        assert any(f"{word!r} has no effect" in each for each in warnings), word
    assert len(warnings) == len(told) + 1
    assert all(each.startswith("workload.yaml:") for each in warnings[:-1])
    assert "names no machine" in warnings[-1]


def test_without_the_outer_key_and_with_keys_of_ours() -> None:
    inner = "\n".join(line[2:] for line in WORKLOAD.splitlines()[1:]) + "\narch: edge8\nseed: 4\n"
    found, _ = study(inner)
    assert found == SPARSITY | {"arch": "edge8", "seed": 4}
    found, _ = study(WORKLOAD + "arch: edge8\nrun: true\n")
    assert found == SPARSITY | {"arch": "edge8", "run": True}


@pytest.mark.parametrize(
    ("function", "objective"),
    [("quantization_problem", "min weighted_bits"), ("energy_aware_quant_problem", "min energy_pj")],
)
def test_precision(function: str, objective: str) -> None:
    text = WORKLOAD.replace("sparsity_problem", function)
    text = text.replace("num_bits_upper_limit: 14", "num_bits_upper_limit: 14\n      num_bits_lower_limit: 4")
    text += "      bit_weighting_function: 'bits_weighted_per_layer'\n"
    text += "    energy_evaluation: {dram_analysis_file: a.csv, input_shape: [1]}\n  retraining: {epochs: 4}\n"
    found, warnings = study(text)
    assert found["arch"] == "mixed16"
    assert found["precision"] == {"most_bits": 14, "least_bits": 4, "weighting": "per_layer"}
    assert found["objectives"] == ["max accuracy", objective]
    for word in ("retraining", "energy_evaluation", "block_size", "threshold_limit"):
        assert any(f"{word!r} has no effect" in each for each in warnings), word


@pytest.mark.parametrize(
    ("found", "instead", "told"),
    [
        ("sparsity_problem", "sparseness_problem", "did you mean 'sparsity_problem'?"),
        ("detection_accuracy", "yolop_combined_accuracy", "there is no metric"),
        ("pop_size", "popsize", "did you mean 'pop_size'?"),
        ("minimum_accuracy: 0.33", "minimum_accuracy: [0.6, 0.8]", "must be a number"),
        ("predefined_parameters", "predefined_params", "unknown key"),
        ("    model", "    modell", "unknown key"),
        ("exploration:\n    nsga", "explorations:\n    nsga", "did you mean 'exploration'?"),
    ],
)
def test_what_is_refused(found: str, instead: str, told: str) -> None:
    text = WORKLOAD.replace(found, instead, 1) if "model" not in found else WORKLOAD.replace("  model:", "  modell:")
    with pytest.raises(CompileError) as error:
        study(text)
    assert told in str(error.value)
    assert all(each.span.line for each in error.value.diagnostics)
