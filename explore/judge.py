"""Figures of the batch evaluator: the accuracy of a candidate on samples, and the blocks that it prunes.

A candidate's graph is what `dnnc compile` makes of the same options up to the pass `prune`; the numbers are those of
the machine (accuracy/evaluator.py). The model is read, imported and calibrated once by each process, and what a
candidate does not change is not computed again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..driver import session
from ..driver.options import pass_options
from ..ir.diagnostics import NOWHERE, CompileError, Diagnostic, Span
from ..ir.frozen import dataclass
from ..ir.module import Header, Module
from ..ir.types import ElementType
from ..passes.block_prune import PRUNE_OF
from ..runtime.arithmetic import bf16_values, to_container
from ..runtime.blocks import Blocks
from ..runtime.values import NUMPY_OF_ONNX
from .accuracy.boxes import BoxOutputs
from .accuracy.choose import WITH_FLOAT, Places, float_outputs, metric_of, takes_boxes
from .accuracy.evaluator import Evaluator
from .accuracy.feeds import feeds_of
from .accuracy.images import Images, image_stored
from .accuracy.metrics import TopK
from .accuracy.samples import Preprocess, Samples, fitted, npz_stored, taken
from .accuracy.subsets import classes_of, halves, subset
from .corruptions.corrupt import Corruption
from .costs import PRUNE, Costs, opened_costs, sources
from .layer_sqnr import has_codes, layer_sqnr
from .problem import Candidate, Figures
from .shared_files import SharedFile, SharedFolder
from .versions import version_text
from .workers import threads

SEARCHED, REPORTED = "searched", "reported"
JUDGED = {
    "accuracy": "of the metric, on the samples of the search",
    "blocks": "of pruned layers, for each sample",
    "zero_blocks": "of those, zero before anything was pruned",
    "created_blocks": "of those, pruned and not zero before",
    "kept_blocks": "of those, not pruned",
    "created_percent": "created_blocks in percent of blocks",
    "kept_percent": "kept_blocks in percent of blocks",
}
OF_LAYERS = ("zero_blocks", "created_blocks", "kept_blocks")  # of each that is pruned, too: a dot and its name behind
_MOST_PREFIXES = 16  # graphs before pruning that are kept


@dataclass(frozen=True, slots=True)
class Judge:
    """What a study's section `accuracy` says: samples `x` and labels `y` of the .npz file `data`, or the images of a
    folder, and a metric, of the outputs `boxes` where they are boxes.

    The search sees `samples` of them (None: all), drawn by `seed` with every class, or the first ones where they are
    not `shuffled`; where `halved`, of one half, and the front is reported on the other, else on all. `places` are where
    the section names data, metric and outputs.
    """

    costs: Costs
    data: SharedFile | SharedFolder
    metric: str
    x: str = "x"
    y: str | None = "y"
    output: str | None = None
    preprocess: Preprocess = Preprocess()
    samples: int | None = None
    shuffled: bool = True
    halved: bool = False
    seed: int = 0
    corruption: Corruption | None = None
    images: Images | None = None
    boxes: BoxOutputs | None = None
    places: Places = field(default=Places(), compare=False, repr=False)

    @property
    def place(self) -> Span:
        """Where the data are named."""
        return self.places.data

    @property
    def figures(self) -> Mapping[str, str]:
        return JUDGED

    @property
    def identity(self) -> str:
        files = [each.identity if each else "-" for each in (self.costs.model, self.costs.calibrate, self.data)]
        drawn = (self.samples, self.shuffled, self.halved, self.seed)
        given = (self.metric, self.x, self.y, self.output, self.preprocess, self.corruption, self.images, self.boxes)
        # Pillow decodes and scales images, and makes corruptions of them with scipy.
        return "\n".join(["judge", *files, repr((given, drawn)), sources(), version_text("pillow", "scipy")])

    def open(self) -> Callable[[Candidate], Figures]:
        return OpenedJudge(self)

    def refuse_changed(self) -> None:
        """Raise ChangedFileError where a file is not what it was as this process began to read it. Of a folder images
        were read once, and are not looked at again."""
        self.costs.refuse_changed()
        if isinstance(self.data, SharedFile):
            self.data.refuse_changed()

    def packed(self) -> Judge:
        """With the bytes of its files, to be sent to other machines."""
        return replace(self, costs=self.costs.packed(), data=self.data.packed())


class OpenedJudge:
    """The model and the samples of a judge, read once. Raises CompileError where they cannot be used."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._opened = opened_costs(judge.costs)
        self._stored = _stored(judge.data, judge.images, judge.x, judge.y, takes_boxes(judge.metric), judge.place)
        count = len(self._stored.x)
        if judge.halved and count < 2:
            message = f"the data have {count} sample{'s' * (count != 1)}, which cannot be halved"
            raise CompileError(Diagnostic(message, judge.place, "`split: none`, or more samples"))
        everything = np.arange(count)
        searched, reported = halves(self._stored, judge.seed) if judge.halved else (everything, everything)
        if judge.samples is not None and judge.samples > len(searched):
            there = len(searched)
            what = "the half of the data that is searched has" if judge.halved else "the data have"
            message = f"{what} {there} sample{'s' * (there != 1)}, fewer than the {judge.samples} that are asked for"
            raise CompileError(Diagnostic(message, judge.place, f"`samples: {there}` or fewer, or without it all"))
        if judge.samples is not None:
            places = subset(self._stored.at(searched), judge.samples, judge.seed)
            searched = searched[places] if judge.shuffled else searched[: judge.samples]
        self._indices = {SEARCHED: searched, REPORTED: reported}
        self._evaluators: dict[str, tuple[Evaluator, Samples, Callable[[Any], float]]] = {}
        self._prefixes: OrderedDict[tuple[str, ...], Module] = OrderedDict()

    def __call__(self, candidate: Candidate, which: str = SEARCHED) -> Figures:
        """The figures of a candidate on the samples of the search, or on those that are reported."""
        try:
            return self._figures(candidate, which)
        finally:
            self.judge.refuse_changed()

    def _figures(self, candidate: Candidate, which: str) -> Figures:
        module = self.module(candidate)
        evaluator, samples, metric = self._evaluator(module, candidate, which)
        outputs, blocks = evaluator.outputs_and_blocks(module)
        return {"accuracy": metric(outputs), **_block_figures(blocks, len(samples.x))}

    def layer_sqnr(self, candidate: Candidate) -> dict[str, float]:
        """In decibels by layer, on the first of the samples that are reported; of nothing where the model is quantised
        already, or the machine computes with floats."""
        module = self.module(candidate)
        if not has_codes(module) or (float_module := self._opened.float_module(candidate)) is None:
            return {}
        _, samples, _ = self._evaluator(module, candidate, REPORTED)
        return layer_sqnr(module, float_module, samples.x, threads())

    def samples_of(self, which: str) -> NDArray[np.int64]:
        """Which samples of the data those are, by their numbers."""
        return self._indices[which]

    def tried(self, candidate: Candidate) -> None:
        """Raises CompileError where samples, labels, metric and model do not fit together; of those that are reported,
        too, before anything is searched by the others."""
        module = self.module(candidate)
        _, samples, _ = self._evaluator(module, candidate, SEARCHED)
        feeds_of(module, {module.inputs[0]: samples.x})
        if self.judge.halved and self.judge.metric not in WITH_FLOAT:
            self._evaluator(module, candidate, REPORTED)

    def refuse_uncorruptible(self, corruption: Corruption) -> None:
        """Raises CompileError where samples are no images that can be corrupted."""
        taken(self._stored, self._indices[SEARCHED][:1], self.judge.preprocess, corruption)

    def samples(self, candidate: Candidate, which: str = SEARCHED) -> Samples:
        """Samples as the model takes them."""
        return self._evaluator(self.module(candidate), candidate, which)[1]

    def float_figure(self, candidate: Candidate, which: str = SEARCHED) -> float:
        """What the metric says of the float model, on the same samples. Requires: a metric of labels."""
        module = self.module(candidate)
        _, samples, metric = self._evaluator(module, candidate, which)
        data = {module.inputs[0]: np.ascontiguousarray(samples.x)}
        return metric(float_outputs(self._opened.model, data, batch_size=candidate.options.batch_size))

    def blocks(self, candidate: Candidate, which: str = SEARCHED) -> tuple[Module, dict[str, Blocks], int]:
        """The graph of a candidate, its blocks by `prune` node on the samples of the search, or on those that are
        reported, and how many samples one pass of the model takes."""
        module = self.module(candidate)
        evaluator, samples, _ = self._evaluator(module, candidate, which)
        _, blocks = evaluator.outputs_and_blocks(module)
        return module, blocks, feeds_of(module, {module.inputs[0]: samples.x}).batch

    def first_inputs(self, candidate: Candidate) -> dict[str, NDArray[Any]]:
        """The first samples of the search by input name, as one pass of a program takes them: as many as it takes,
        over again where there are fewer."""
        module = self.module(candidate)
        tensor = module.tensor(module.inputs[0])
        feeds = feeds_of(module, {tensor.name: self.samples(candidate).x})
        x = feeds.data[tensor.name][np.arange(feeds.batch) % feeds.samples].reshape(tensor.shape or ())
        if not isinstance(tensor.type, ElementType):
            return {tensor.name: x.astype(NUMPY_OF_ONNX[tensor.type.spelling[len("tensor(") : -1]])}
        stored = to_container(x, tensor.type)
        return {tensor.name: bf16_values(stored) if tensor.type is ElementType.BF16 else stored}

    def outputs(self, candidate: Candidate, x: NDArray[Any]) -> dict[str, Any]:
        """The outputs of a candidate on samples of the caller."""
        module = self.module(candidate)
        with Evaluator({module.inputs[0]: x}, threads=threads()) as evaluator:
            return evaluator.outputs(module)

    def chance(self) -> float:
        """The accuracy of an answer that is the same for every sample."""
        labels = classes_of(self._stored)
        if labels is None or self.judge.metric in WITH_FLOAT:
            return 0.0
        labels = labels[self._indices[SEARCHED]]
        share = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
        found = next((metric for _, _, metric in self._evaluators.values()), None)
        return min(1.0, share * (found.k if isinstance(found, TopK) else 1))

    def module(self, candidate: Candidate) -> Module:
        """The graph of a candidate after the pass `prune`. Raises CompileError."""
        module = self.prefix(candidate)
        options = pass_options(candidate.options, Header("", "", ""))
        return session.transform(module, candidate.flat, options, PRUNE)

    def prefix(self, candidate: Candidate) -> Module:
        """The graph before anything is pruned."""
        bare = replace(candidate, options=replace(candidate.options, prune=None))
        key = (bare.arch.digest, bare.options_text)  # modules name the description, its sources too
        if key not in self._prefixes:
            self._prefixes[key], _ = self._opened.graph(bare)
            if len(self._prefixes) > _MOST_PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        return self._prefixes[key]

    def _evaluator(
        self, module: Module, candidate: Candidate, which: str
    ) -> tuple[Evaluator, Samples, Callable[[Any], float]]:
        if which not in self._evaluators:
            if len(module.inputs) != 1:
                message = f"the model has {len(module.inputs)} inputs; samples are of one"
                raise CompileError(Diagnostic(message, self.judge.place))
            shape = module.tensor(module.inputs[0]).shape or ()
            judge = self.judge
            chosen = taken(self._stored, self._indices[which], judge.preprocess, judge.corruption)
            samples = fitted(chosen, shape, turned=judge.preprocess.layout == "nhwc")
            data = {module.inputs[0]: np.ascontiguousarray(samples.x)}
            reference = None
            if self.judge.metric in WITH_FLOAT:
                reference = float_outputs(self._opened.model, data, batch_size=candidate.options.batch_size)
            metric = metric_of(
                judge.metric,
                module,
                samples,
                output=judge.output,
                reference=reference,
                boxes=judge.boxes,
                places=judge.places,
            )
            self._evaluators[which] = Evaluator(data, threads=threads()), samples, metric
        return self._evaluators[which]


def _block_figures(blocks: Mapping[str, Blocks], samples: int) -> dict[str, float]:
    """Of the whole model, then of each layer, by the name of its `prune` node."""
    zero = {name: int(each.zero.sum()) for name, each in blocks.items()}
    created = {name: int((each.pruned & ~each.zero).sum()) for name, each in blocks.items()}
    kept = {name: int((~each.pruned).sum()) for name, each in blocks.items()}
    total = sum(each.pruned.size for each in blocks.values())
    every = dict(zip(OF_LAYERS, (zero, created, kept), strict=True))
    found = {figure: sum(layers.values()) / samples for figure, layers in every.items()}
    found["created_percent"] = 100 * sum(created.values()) / total if total else 0.0
    found["kept_percent"] = 100 * sum(kept.values()) / total if total else 100.0
    of_layers = {
        f"{figure}.{name.removesuffix(PRUNE_OF)}": count / samples
        for figure, layers in every.items()
        for name, count in layers.items()
    }
    return {"blocks": total / samples, **found, **of_layers}


@lru_cache(maxsize=2)
def _stored(
    data: SharedFile | SharedFolder, images: Images | None, x: str, y: str | None, real_labels: bool, place: Span
) -> Samples:
    """Samples as they are stored, read once for all judges of the same data. Raises CompileError."""
    where = place if place != NOWHERE else None
    if images is not None:
        return image_stored(data.local(), images, where)
    return npz_stored(data.local(), x, y, where, real_labels=real_labels)
