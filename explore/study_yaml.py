"""Study files: YAML -> Study, every fault at once with its place. specs/explore.md is the schema."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..driver.decisions import Options
from ..driver.legal import WHOLE
from ..frontend.importer import ImportOptions, prepare
from ..frontend.load import parse
from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import LARGEST_BYTES, ListNode, MapNode, ScalarNode, YamlNode, read_yaml
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, closest
from ..ir.expressions import Expression, ExpressionFault, parse_expression, unknown_names
from ..ir.files import read_text_bounded
from ..ir.hierarchy import Hierarchy
from .algorithm_settings import EXHAUSTIVE, NSGA2, read_settings
from .corruptions.corrupt import Corruptions
from .corruptions_section import check_corruptions, read_corruptions, without_corruptions
from .costs import ALIASES, Costs
from .judge import OF_LAYERS, Judge
from .judge_section import read_judge
from .level_costs import LevelCosts
from .level_rules import admitted
from .machines import load_machine
from .option_rules import binding_option, is_calibrated, judge_options, pruning_warnings
from .predefined import read_predefined
from .problem import Candidate, Problem, Provider
from .problems import JUDGED, PROBLEMS, Context
from .pruned_costs import PrunedCosts
from .published_keys import is_published, translated
from .run_section import check_run, read_run
from .shared_files import SharedFile
from .sparsity import Sparsity
from .study import Objective, Study
from .study_options import calibrates, read_options
from .variables import Genome, counted

MOST_EXHAUSTIVE = 10**6  # points
MOST_OBJECTIVES = 8
_HELP = "`dnnc explore --help` has a study to begin with; specs/explore.md says what may stand in one"
_OBJECTIVE = re.compile(r"\s*(min|max)\s+(.+)", re.DOTALL)


def read_study(path: str) -> Study:
    """The study in the file at `path`; the files that it names are looked for from its folder.

    Raises CompileError with every fault of the file, and of the model, the machine and the options that it names.
    """
    text = read_text_bounded(path, LARGEST_BYTES, _HELP)
    faults = Faults(text, path)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        faults.refuse("a study starts with keys such as `model: model.onnx`", root.span, _HELP)
    warnings: list[str] = []
    if is_published(root):
        root = translated(root, faults, warnings)
        faults.raise_if_any()
    return _Reader(root, faults, path, warnings).study()


class _Reader:
    """One reading. Stand-ins take the place of what is wrong, so that the rest is still judged."""

    def __init__(self, root: MapNode, faults: Faults, path: str, warnings: list[str]) -> None:
        self.top = Fields(root, faults)
        self.faults = faults
        self.path = path
        self.folder = Path(path).parent
        self.warnings = warnings
        self.is_whole = True
        self.corruptions: Corruptions | None = None

    def study(self) -> Study:
        top = self.top
        section = top.fields("options", required=False)
        options, files = read_options(section, self.folder)
        model = self._model(section, options, files.get("calibrate"))
        arch = self._arch()
        seed = top.integer("seed", *WHOLE["seed"], 0)
        reuse = self._reuse()
        run = read_run(top, self.folder, seed)
        named = [each for each in PROBLEMS if top.has(each)]
        if not named:
            self.faults.add("the study has no problem", top.node.span, f"a section {' or '.join(map(repr, PROBLEMS))}")
        settings = read_settings(top, seed)
        for key in ("objectives", "constraints", "predefined", "accuracy"):
            top.has(key)
        if model is None or arch is None:  # nothing of the problems can be judged without them
            top.done()
            self.faults.raise_if_any()
        assert model is not None and arch is not None
        of_programs = Costs(model, files.get("calibrate"), files.get("mapping"))
        is_flat = isinstance(arch, Arch)
        costs: Costs | LevelCosts = of_programs if is_flat else LevelCosts(model, files.get("mapping"))
        legal = admitted(top, self.faults, arch, options, named) if isinstance(arch, Hierarchy) else named
        base, judge = Candidate(arch, options), None
        context = Context(top, model, self.machine(top.text("arch")), base, str(self.folder), seed, of_programs, judge)
        problems = self._problems([each for each in legal if each not in JUDGED], context)
        of_layers = [each for each in legal if each in JUDGED]
        options_judged = judge_options(section, costs, base, problems, of_layers, self.warnings)
        base = options_judged.base
        if is_flat:
            judge = self._judge(named, of_programs, options_judged.alone, seed)
        problems += self._problems(of_layers, replace(context, base=base, judge=judge))
        self._refuse_names(problems, costs)
        if is_flat:
            self.warnings += pruning_warnings(of_programs, options_judged.alone, problems)
        # What is missing for a fault of its own is no fault of those that name it.
        self.is_whole = len(problems) == len(named) and (judge is not None or not top.has("accuracy"))
        unsettled = any(isinstance(each, Sparsity) and each.limit is None for each in problems)
        study = Study(
            name=Path(self.path).stem,
            file=self.path,
            content=_content(top.node),
            base=base,
            problems=problems,
            costs=costs,
            objectives=self._objectives(problems, costs),
            constraints=self._constraints(problems, costs),
            settings=settings,
            run=run,
            reuse=reuse,
            predefined=() if unsettled or not self.is_whole else read_predefined(self.top, problems),
            warnings=tuple(self.warnings),
            counted=PrunedCosts(of_programs, judge) if judge and "sparsity" in named else None,
            corruptions=self.corruptions if judge and any(each in JUDGED for each in named) else None,
        )
        if settings.name == EXHAUSTIVE and study.space.size > MOST_EXHAUSTIVE:
            size = counted(study.space.size)
            message = f"the space has {size} points; an exhaustive search takes at most {MOST_EXHAUSTIVE}"
            self.faults.add(message, top.span("algorithm"), "`algorithm: {name: nsga2}`, or fewer values")
        if top.has("run"):
            network = prepare(Path(model.path), ImportOptions(options.batch_size, options.shapes))
            check_run(top, self.faults, arch, run, network, top.has("accuracy"))
        if settings.name != NSGA2 and top.has("predefined"):
            self.faults.add(f"`predefined` has no effect on {settings.name!r}", top.span("predefined"), "leave it out")
        top.done()
        self.faults.raise_if_any()
        check_corruptions(study, top)
        self.faults.raise_if_any()
        return replace(study, predefine=self._settled_predefined) if unsettled else study

    def _settled_predefined(self, problems: tuple[Problem, ...]) -> tuple[Genome, ...]:
        """Raises CompileError for values that these problems' variables do not have."""
        found = read_predefined(self.top, problems)
        self.faults.raise_if_any()
        return found

    def _judge(self, named: list[str], costs: Costs, base: Candidate, seed: int) -> Judge | None:
        section = self.top.fields("accuracy", required=False)
        if section is None:
            return None
        if not any(each in JUDGED for each in named):
            help = f"a section {' or '.join(map(repr, JUDGED))}, or leave it out"
            self.faults.add("`accuracy` has no effect on the study's problems", self.top.span("accuracy"), help)
        self.corruptions = read_corruptions(section)
        judge = read_judge(section, costs, base, self.folder, seed)
        has_widths = "precision" in named
        if judge is not None and costs.calibrate is None and is_calibrated(costs, base, has_widths=has_widths):
            gives = "`options: {calibrate: data.npz}` gives real inputs"
            self.warnings.append(f"the model is quantised by synthetic data: expect no accuracy ({gives})")
        return judge

    def _problems(self, named: list[str], context: Context) -> tuple[Problem, ...]:
        found: list[Problem] = []
        for name in named:
            section = self.top.fields(name)
            if section is None:
                continue
            try:
                problem = PROBLEMS[name](section, context)
            except CompileError as error:
                for fault in error.diagnostics:
                    self.faults.add(fault.message, fault.span if fault.span.line else self.top.span(name), fault.help)
                continue
            if problem is not None:
                found.append(problem)
        return tuple(found)

    def _refuse_names(self, problems: tuple[Problem, ...], costs: Provider) -> None:
        """Of variables: those of others, and of figures."""
        others = {name for problem in problems for each in problem.providers for name in each.figures}
        figures = {*ALIASES, *costs.figures, *others}
        seen: set[str] = set()
        for problem in problems:
            for variable in problem.variables:
                if variable.name in seen:
                    message = f"two problems have a variable {variable.name!r}"
                    self.faults.add(message, self.top.span(problem.name), "give one of them another name")
                if variable.name in figures:
                    message = f"the variable {variable.name!r} has the name of a figure, which expressions may mean"
                    self.faults.add(message, self.top.span(problem.name), "give it another name, and `fields`")
                seen.add(variable.name)

    def _model(self, section: Fields | None, options: Options, calibrate: SharedFile | None) -> SharedFile | None:
        """The model's file; `section` are the `options`, if there are any."""
        name = self.top.text("model", expected="model.onnx")
        if not self.top.has("model") or "model" in self.faults.wrong:
            return None
        path = self.folder / name
        bound = ImportOptions(options.batch_size, options.shapes)
        try:
            network = prepare(path, bound)
            if calibrate is not None and not calibrates(network, calibrate, section):
                return None
            return SharedFile.of(path, _external_data(path))
        except CompileError as error:
            option = binding_option(path, bound)
            for fault in error.diagnostics:
                if section is not None and option:
                    section.fault(option, fault.message, fault.help)
                    continue
                where = f"{fault.span}: " if str(fault.span) else ""
                help = fault.help or "an .onnx file, from the folder of this file"
                self.faults.add(f"the model cannot be used: {where}{fault.message}", self.top.span("model"), help)
            return None

    def _arch(self) -> Arch | Hierarchy | None:
        name = self.top.text("arch", expected="gemmini16")
        if not self.top.has("arch") or "arch" in self.faults.wrong:
            return None
        try:
            return load_machine(self.machine(name))
        except CompileError as error:
            for fault in error.diagnostics:
                if fault.span.line:
                    self.faults.include([fault])
                else:
                    self.faults.add(fault.message, self.top.span("arch"), fault.help)
            return None

    def machine(self, name: str) -> str:
        """A bundled name as it is, a path from the folder of the study."""
        beside = self.folder / name
        return str(beside) if beside.is_file() else name

    def _reuse(self) -> tuple[str, ...]:
        """Folders of earlier studies."""
        if not self.top.has("reuse"):
            return ()
        node = self.top.node.entries["reuse"]
        items = node.items if isinstance(node, ListNode) else (node,)
        found = []
        for item in items:
            folder = self.folder / item.text if isinstance(item, ScalarNode) else None
            if folder is None or not (folder / "store.sqlite").is_file():
                shown = repr(item.text[:80]) if isinstance(item, ScalarNode) else "what stands here"
                help = "the folder that `dnnc explore -o` wrote, from the folder of this file"
                self.faults.add(f"{shown} is no folder of a study with points", item.span, help)
            else:
                found.append(str(folder))
        return tuple(found)

    def _objectives(self, problems: tuple[Problem, ...], costs: Provider) -> tuple[Objective, ...]:
        found = []
        for node in self._texts("objectives", True, "[min energy_pj, max accuracy]", MOST_OBJECTIVES):
            match = _OBJECTIVE.fullmatch(node.text)
            if match is None:
                help = "`min` or `max`, then a figure or an expression: `min energy_pj`"
                self.faults.add(f"an objective is {node.text[:60]!r}", node.span, help)
                continue
            expression = self._expression(match[2], node, problems, costs)
            if expression is not None and expression.is_comparison:
                self.faults.add(f"{node.text[:60]!r} compares", node.span, "such a limit stands in `constraints`")
            elif expression is not None and not expression.names:
                help = "a figure or a variable, or an expression of them: `min energy_pj`"
                self.faults.add(f"{node.text[:60]!r} is the same for every point", node.span, help)
            elif expression is not None:
                found.append(Objective(expression, match[1] == "max"))
        return tuple(found)

    def _constraints(self, problems: tuple[Problem, ...], costs: Provider) -> tuple[Expression, ...]:
        found = []
        for node in self._texts("constraints", False, "[acc <= spad, inferences_per_second >= 30]", 1000):
            expression = self._expression(node.text, node, problems, costs)
            if expression is not None and not expression.is_comparison:
                self.faults.add(f"{node.text[:60]!r} compares nothing", node.span, "for example `area_um2 <= 3 mm2`")
            elif expression is not None and not expression.names:
                help = "a figure or a variable: `area_um2 <= 3 mm2`"
                self.faults.add(f"{node.text[:60]!r} is the same for every point", node.span, help)
            elif expression is not None:
                found.append(expression)
        return tuple(found)

    def _texts(self, key: str, required: bool, example: str, most: int) -> list[ScalarNode]:
        node = self.top.value(key, example) if required else self.top.node.entries.get(key)
        if node is None:
            return []
        if not isinstance(node, ListNode) or not 0 < len(node.items) <= most:
            self.top.fault(key, f"{key!r} must be a list of 1 to {most} texts", f"for example `{key}: {example}`")
            return []
        texts = [each for each in node.items if isinstance(each, ScalarNode) and each.text]
        if len(texts) < len(node.items):
            self.top.fault(key, f"{key!r} must hold texts", f"for example `{key}: {example}`")
        return texts

    def _expression(
        self, text: str, node: ScalarNode, problems: tuple[Problem, ...], costs: Provider
    ) -> Expression | None:
        variables = [each.name for problem in problems for each in problem.variables]
        providers = [each for problem in problems for each in problem.providers]
        known = [*variables, *ALIASES, *costs.figures, *(name for each in providers for name in each.figures)]
        pruned = [layer for each in problems if isinstance(each, Sparsity) for layer in each.layers]
        known += [f"{figure}.{layer}" for layer in pruned for figure in OF_LAYERS]
        try:
            found = parse_expression(text)
        except ExpressionFault as fault:
            self.faults.add(str(fault), node.span, "for example `acc <= spad`, `energy_pj + 50 * cycles`")
            return None
        if self.is_whole and (unknown := unknown_names(found, known)):
            message = f"there is neither a figure nor a variable {unknown[0][:60]!r}"
            self.faults.add(message, node.span, closest(unknown[0], known))
            return None
        return found


def _external_data(model: Path) -> tuple[str, ...]:
    """Names of the files beside a model that hold its weights; that they lie in its folder has been looked at."""
    tensors = parse(model).graph.initializer
    return tuple(sorted({each.value for one in tensors for each in one.external_data if each.key == "location"}))


def _content(root: MapNode) -> str:
    """What decides the study's points, in one spelling: without remarks, where to look for known ones, and what else
    it is run for."""
    kept = {key: value for key, value in root.entries.items() if key not in ("reuse", "run")}
    kept |= {"accuracy": without_corruptions(kept["accuracy"])} if "accuracy" in kept else {}
    return json.dumps(_plain(MapNode(kept, root.key_spans, root.span)), sort_keys=True)


def _plain(node: YamlNode) -> Any:
    if isinstance(node, MapNode):
        return {key: _plain(value) for key, value in node.entries.items()}
    if isinstance(node, ListNode):
        return [_plain(each) for each in node.items]
    return node.text if isinstance(node.value, float) and not math.isfinite(node.value) else node.value
