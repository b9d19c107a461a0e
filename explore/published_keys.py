"""Workload files of the published Spex (itiv-kit/dnn-model-exploration), taken as they are: its keys become ours.

    workload: {problem: {problem_function: sparsity_problem}, model: {type: ...}, exploration: {nsga: ..., ...}}

`translated` gives the study that such a file means. Every node keeps its place, so that faults are told where they
stand in the file. What has no effect here is told as a warning, key by key; nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ListNode, MapNode, ScalarNode, YamlNode
from ..ir.diagnostics import Span, closest

OUTER = "workload"
FUNCTIONS = {
    "sparsity_problem": "sparsity",
    "quantization_problem": "precision",
    "energy_aware_quant_problem": "precision",
}
METRICS = {
    "classification_accuracy": "top1",
    "detection_accuracy": "map",
    "pixelwise_segmentation_accuracy": "pixel_accuracy",
}
_OBJECTIVES = {
    "sparsity_problem": ("max accuracy", "max created_blocks"),
    "quantization_problem": ("max accuracy", "min weighted_bits"),
    "energy_aware_quant_problem": ("max accuracy", "min energy_pj"),
}
_NSGA = {
    "pop_size": "population",
    "offsprings": "offspring",
    "generations": "generations",
    "mutation_prob": "mutation_probability",
    "mutation_eta": "mutation_eta",
    "crossover_prob": "crossover_probability",
    "crossover_eta": "crossover_eta",
    "ftol": "tolerance",
}
_EXTRA = {
    "sparsity": {
        "discrete_threshold_steps": "steps",
        "discrete_threshold_method": "method",
        "threshold_limit": "limit",
        "block_size": "block",
    },
    "precision": {
        "num_bits_upper_limit": "most_bits",
        "num_bits_lower_limit": "least_bits",
        "bit_weighting_function": "weighting",
    },
}
_WEIGHTINGS = {"bits_weighted_linear": "linear", "bits_weighted_per_layer": "per_layer"}
_DATA = {"path": "data", "sample_limit": "samples", "randomize": "shuffle"}
# Keys that say nothing that a study here could heed, and what takes their place.
_WITHOUT_EFFECT = {
    "problem.gpu_id": "evaluations run on processor cores",
    "problem.log_file": "progress goes to standard error, results to the folder of -o",
    "problem.clear_log_file": "progress goes to standard error, results to the folder of -o",
    "problem.results_file": "results go to the folder of -o",
    "model.weights": "weights are those in the .onnx file",
    "calibration": "`options: {calibrate: DATA.npz}` has the samples that ranges are taken from",
    "retraining": "fine-tuning is a step of its own, after a search",
    "reevaluation": "`run:` executes the front",
    "exploration.datasets.baseline": "the front is judged on the samples of `exploration`",
    "exploration.energy_evaluation": "energy is that of the machine `arch`, counted for each point",
    "exploration.extra_args.collect_sparsity_details": "what is known of each point is always stored",
}
_FILE = "`path` is a .npz file"
DEFAULT_ARCHS = {"sparsity": "sparse_blox16", "precision": "mixed16"}
# What the published code does beside its keys: |mean| of blocks of the unfolded input (its sparse_convolution.py).
_SPARSITY = {"criterion": "mean", "meaning": "consumer_im2col"}
_OURS = ("arch", "options", "run", "reuse", "seed")  # keys of ours that may stand beside theirs


def is_published(root: MapNode) -> bool:
    """Whether a file has the published keys: those of the outermost level that no study of ours has."""
    return OUTER in root.entries or {"problem", "exploration"} <= root.entries.keys()


def translated(root: MapNode, faults: Faults, warnings: list[str]) -> MapNode:
    """The study that a published file means. What is wrong goes to `faults`, what has no effect to `warnings`."""
    outer = root
    if OUTER in root.entries:
        top = Fields(root, faults)
        inner = top.fields(OUTER)
        for key in _OURS:
            top.has(key)
        top.done()
        if inner is None:
            return root
        outer = inner.node
    return _Translation(outer, root, faults, warnings).study()


class _Translation:
    def __init__(self, outer: MapNode, root: MapNode, faults: Faults, warnings: list[str]) -> None:
        self.outer = outer
        self.root = root
        self.faults = faults
        self.warnings = warnings
        self.entries: dict[str, YamlNode] = {}
        self.key_spans: dict[str, Span] = {}

    def study(self) -> MapNode:
        fields = Fields(self.outer, self.faults)
        function, place = self._function(fields)
        section = FUNCTIONS[function]
        self._model(fields)
        self._exploration(fields, function, section, place)
        for key in ("calibration", "retraining", "reevaluation"):
            if fields.has(key):
                self._tell(key, key, self.outer.key_spans[key])
        for key in _OURS:
            if fields.has(key) or key in self.root.entries:
                source = self.outer if key in self.outer.entries else self.root
                self._put(key, source.entries[key], source.key_spans[key])
        fields.done()
        if "arch" not in self.entries:
            arch = DEFAULT_ARCHS[section]
            self.warnings.append(f"the file names no machine: `arch: {arch}` is taken")
            self._put("arch", _word(arch, place), place)
        return MapNode(self.entries, self.key_spans, self.outer.span)

    def _function(self, fields: Fields) -> tuple[str, Span]:
        problem = fields.fields("problem")
        if problem is None:
            return next(iter(FUNCTIONS)), self.outer.span
        function = problem.choice("problem_function", tuple(FUNCTIONS))
        for key in ("gpu_id", "log_file", "clear_log_file", "results_file"):
            if problem.has(key):
                self._tell(f"problem.{key}", key, problem.node.key_spans[key])
        problem.done()
        return function, problem.span("problem_function")

    def _model(self, fields: Fields) -> None:
        model = fields.fields("model")
        if model is None:
            return
        node = model.value("type", "resnet50")
        if isinstance(node, ScalarNode):
            name = node.text if node.text.endswith((".onnx", ".dnnir")) else f"{node.text}.onnx"
            self._put("model", _word(name, node.span), node.span)
        if model.has("weights"):
            self._tell("model.weights", "weights", model.node.key_spans["weights"])
        if model.has("accuracy_function"):
            name, span = model.text("accuracy_function"), model.span("accuracy_function")
            if name in METRICS:
                self._into("accuracy", "metric", _word(METRICS[name], span), span)
            else:
                model.fault("accuracy_function", f"there is no metric for {name!r}", closest(name, METRICS))
        model.done()

    def _exploration(self, fields: Fields, function: str, section: str, place: Span) -> None:
        self._put(section, MapNode({}, {}, place), place)
        for key, word in _SPARSITY.items() if section == "sparsity" else ():
            self._into(section, key, _word(word, place), place)
        exploration = fields.fields("exploration")
        if exploration is None:
            return
        self._put("algorithm", MapNode({"name": _word("nsga2", place)}, {"name": place}, place), place)
        nsga = exploration.fields("nsga")
        if nsga is not None:
            self._rename(nsga, _NSGA, "algorithm")
            nsga.done()
        texts = tuple(_word(each, place) for each in _OBJECTIVES[function])
        self._put("objectives", ListNode(texts, place), place)
        if exploration.has("minimum_accuracy"):
            least = exploration.number("minimum_accuracy", 0.0, 1.0)
            span = exploration.span("minimum_accuracy")
            self._put("constraints", ListNode((_word(f"accuracy >= {least!r}", span),), span), span)
        if exploration.has("predefined_parameters"):
            key = "predefined_parameters"
            self._put("predefined", exploration.node.entries[key], exploration.node.key_spans[key])
        datasets = exploration.fields("datasets", required=False)
        if datasets is not None:
            self._datasets(datasets)
        if exploration.has("energy_evaluation"):
            span = exploration.node.key_spans["energy_evaluation"]
            self._tell("exploration.energy_evaluation", "energy_evaluation", span)
        extra = exploration.fields("extra_args", required=False)
        if extra is not None:
            self._extra(extra, section)
        exploration.done()

    def _datasets(self, datasets: Fields) -> None:
        if datasets.has("baseline"):
            self._tell("exploration.datasets.baseline", "baseline", datasets.node.key_spans["baseline"])
        search = datasets.fields("exploration")
        if search is not None:
            self._rename(search, _DATA, "accuracy")
            for key, span in search.node.key_spans.items():
                if key not in _DATA:
                    search.has(key)
                    how = "samples go through the model in parts that fit it" if key == "batch_size" else _FILE
                    self._say(key, span, how)
            search.done()
        datasets.done()

    def _extra(self, extra: Fields, section: str) -> None:
        self._rename(extra, _EXTRA[section], section)
        block = self._section(section).entries.get("block")
        if isinstance(block, ListNode):  # theirs is width and height, ours rows and columns
            self._into(section, "block", replace(block, items=block.items[::-1]), block.span)
        if "weighting" in (entries := self._section(section).entries):
            node = entries["weighting"]
            name = node.text if isinstance(node, ScalarNode) else ""
            if name in _WEIGHTINGS:
                self._into(section, "weighting", _word(_WEIGHTINGS[name], node.span), node.span)
            else:
                extra.fault("bit_weighting_function", f"there is no weighting {name!r}", closest(name, _WEIGHTINGS))
        for other, keys in _EXTRA.items():
            for key in keys if other != section else ():
                if extra.has(key):
                    self._say(key, extra.node.key_spans[key], f"it is for problems of {other}")
        if extra.has("collect_sparsity_details"):
            span = extra.node.key_spans["collect_sparsity_details"]
            self._tell("exploration.extra_args.collect_sparsity_details", "collect_sparsity_details", span)
        extra.done()

    def _rename(self, fields: Fields, keys: Mapping[str, str], section: str) -> None:
        """Keys whose values stand as they are; `null` means what a missing key means."""
        for key, ours in keys.items():
            if fields.has(key):
                node = fields.node.entries[key]
                if not isinstance(node, ScalarNode) or node.value is not None:
                    self._into(section, ours, node, fields.node.key_spans[key])

    def _section(self, section: str) -> MapNode:
        node = self.entries.get(section)
        return node if isinstance(node, MapNode) else MapNode({}, {}, self.outer.span)

    def _into(self, section: str, key: str, node: YamlNode, span: Span) -> None:
        held = self._section(section)
        entries, spans = {**held.entries, key: node}, {**held.key_spans, key: span}
        self._put(section, replace(held, entries=entries, key_spans=spans), self.key_spans.get(section, span))

    def _put(self, key: str, node: YamlNode, span: Span) -> None:
        self.entries[key], self.key_spans[key] = node, span

    def _tell(self, name: str, key: str, span: Span) -> None:
        self._say(key, span, _WITHOUT_EFFECT[name])

    def _say(self, key: str, span: Span, instead: str) -> None:
        self.warnings.append(f"{span}: {key!r} has no effect: {instead}")


def _word(text: str, span: Span) -> ScalarNode:
    return ScalarNode(text, text, span)
