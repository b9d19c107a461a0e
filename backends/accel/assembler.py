"""Text to a program. The text is not trusted: every fault is told with its place, all at once."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import TypeVar

from ...ir.diagnostics import CompileError, Diagnostic, Span
from ...ir.files import decoded
from ...ir.program import MNEMONICS, HostCall, Instruction, Placement, Program, Region
from ...ir.program_rules import MAX_ENTRIES, MAX_FAULTS, MAX_INSTRUCTIONS, check_program, limited
from ...ir.program_sets import MOST_SETS, PrecisionSet, ProgramSets, check_sets, used_blobs
from ...ir.types import BlobRef, ElementType, HostType
from .assembled import Part
from .line import Fault, Line, column_of, field_values
from .syntax import INSTRUCTIONS, SETS_VERSION, VERSION, InstructionText

MAX_SOURCE_CHARACTERS = 1 << 29
MAX_LINES = 1 << 23

_REQUIRED = {"version": ".dnnc", "model": ".model", "batch": ".batch", "arch": ".arch"}
_REQUIRED_OF_PART = {"tolerance": ".tolerance", "main_bytes": ".main"}
_PLACE = re.compile(r"\$(?:\.sets\[(\d+)\])?(?:\.(\w+)(?:\[(\d+)\])?)?")
_Entry = TypeVar("_Entry")


def assemble(source: str | bytes, file: str = "program.s") -> Program:
    """The program that a text stands for. Raises CompileError with every fault (the first hundred), also where the text
    has several precision sets."""
    found = assemble_any(source, file)
    if isinstance(found, ProgramSets):
        raise CompileError(Diagnostic(f"the text has {len(found.sets)} precision sets", Span(file, 1, 1)))
    return found


def assemble_any(source: str | bytes, file: str = "program.s") -> Program | ProgramSets:
    """The same of a text that may have several precision sets."""
    if len(source) > MAX_SOURCE_CHARACTERS:
        message = f"the text has {len(source)} characters; at most {MAX_SOURCE_CHARACTERS}"
        raise CompileError(Diagnostic(message, Span(file, 1, 1)))
    text = decoded(source, file) if isinstance(source, bytes) else source
    if text.count("\n") >= MAX_LINES:
        raise CompileError(Diagnostic(f"the text has more than {MAX_LINES} lines", Span(file, 1, 1)))
    return _Assembler(text.split("\n"), file).program()


class _Assembler:
    """Reads the lines in one go; `places` remembers the line of each part, for faults that only the whole shows."""

    def __init__(self, lines: list[str], file: str) -> None:
        self.lines = lines
        self.file = file
        self.faults: list[Diagnostic] = []
        self.places: dict[tuple[str, int], int] = {}
        self.single: dict[str, str | int] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.blobs: dict[BlobRef, bytes] = {}
        self.blob_lines: dict[BlobRef, int] = {}
        self.part = Part()  # of the whole program, or of the last set
        self.sets: list[Part] = []
        self.count = 0
        self.number = 0
        self.directives: dict[str, Callable[[Line], None]] = {
            ".dnnc": self._version,
            ".model": lambda line: self._single("model", line.text("a name")),
            ".batch": lambda line: self._single("batch", line.number("a number")),
            ".tolerance": lambda line: self._single_of_part("tolerance", line.text("a tolerance")),
            ".main": lambda line: self._single_of_part("main_bytes", line.number("a number of bytes")),
            ".arch": self._arch,
            ".tensor": self._tensor,
            ".input": lambda line: self._append(self.places, "inputs", self.inputs, line.text("a tensor's name")),
            ".output": lambda line: self._append(self.places, "outputs", self.outputs, line.text("a tensor's name")),
            ".default": lambda line: self._single("default", line.text("the name of a set")),
            ".set": self._set,
            ".constant": self._constant,
            ".call": self._call,
            ".region": self._region,
            ".blob": self._blob,
            ".end": lambda line: self._single("end", self.number),
        }

    def program(self) -> Program | ProgramSets:
        while self.number < len(self.lines) and len(self.faults) <= MAX_FAULTS:
            self._line(self.lines[self.number])
            self.number += 1
        self._end_part()
        if self.number == len(self.lines):
            self._missing()
        self._stop_on_faults()
        program: Program | ProgramSets
        if not self.sets:
            program = self.part.program(self.single, self.inputs, self.outputs, self.blobs)
            faults = check_program(program)
        else:
            unused = set(self.blobs)
            sets = []
            for part in self.sets:
                bare = part.program(self.single, self.inputs, self.outputs, {})
                blobs = {each: self.blobs[each] for each in used_blobs(bare) if each in self.blobs}
                unused -= blobs.keys()
                whole = part.program(self.single, self.inputs, self.outputs, blobs)
                sets.append(PrecisionSet(part.name, part.when, whole))
            for reference in sorted(unused):
                self._note(self.blob_lines[reference], 1, "no set uses this blob")
            program = ProgramSets(tuple(sets), str(self.single["default"]))
            faults = check_sets(program)
        for fault in faults:
            self._note(self._line_of(fault.span.file), 0, fault.message, fault.help)
        self._stop_on_faults()
        return program

    def _line_of(self, path: str) -> int:
        """The line of what lies at a path into the program."""
        place = _PLACE.match(path)
        if place is None:
            return 0
        number, kind, index = place[1], place[2] or "", int(place[3] or 0)
        if kind == "sets":
            return self.sets[0].line
        if (kind, index) in self.places:
            return self.places[kind, index]
        return (self.part if number is None else self.sets[int(number)]).line_of(kind, index)

    def _missing(self) -> None:
        """What a whole text would have."""
        required = dict(_REQUIRED)
        version = self.single.get("version", VERSION)
        if self.sets:
            required["default"] = ".default"
            if version != SETS_VERSION and "version" in self.single:
                help = f"several sets make it version {SETS_VERSION}"
                self._note(self.places["version", 0], 1, f".set in a text of version {version}", help)
        elif version == SETS_VERSION:
            self._note(self.places["version", 0], 1, f"a text of version {version} without .set")
        elif "default" in self.single:
            self._note(self.places["default", 0], 0, ".default in a text without .set")
        for key, name in required.items():
            if key not in self.single:
                self._note(0, 0, f"there is no {name}")
        for part in self.sets or [self.part]:
            for key, name in _REQUIRED_OF_PART.items():
                if key not in part.single:
                    self._note(part.line, 0, f"there is no {name}" + (f" in set {part.name!r}" if self.sets else ""))
        if "end" not in self.single:
            last = max((number for number, line in enumerate(self.lines) if line.strip()), default=0)
            help = "the last line of a whole program is .end: the rest of this one may be lost"
            self._note(last, len(Line(self.lines[last]).tokens), "the text ends without .end", help)

    def _stop_on_faults(self) -> None:
        if self.faults:
            raise CompileError(limited(sorted(self.faults, key=lambda fault: (fault.span.line, fault.span.column))))

    def _note(self, line_number: int, token: int, message: str, help: str = "") -> None:
        """A fault at a token of a line, both counted from 0."""
        text = self.lines[line_number] if line_number < len(self.lines) else ""
        excerpt = text.rstrip() if len(text) <= 240 else ""
        span = Span(self.file, line_number + 1, column_of(text, token) + 1)
        self.faults.append(Diagnostic(message, span, help=help, excerpt=excerpt))

    def _line(self, text: str) -> None:
        line = Line(text)
        if line.done():
            return
        started = self.number
        try:
            word = line.tokens[0]
            if "end" in self.single:
                self.number = len(self.lines)  # one fault says it
                raise Fault(0, f"{word[:40]!r} after .end", "the program ends there")
            if word in _MNEMONICS:
                self._instruction(_MNEMONICS[word], line)
            elif word in self.directives:
                line.at = 1
                self.directives[word](line)
                if self.number == started:
                    line.end()
            else:
                known = self.directives if word.startswith(".") else _MNEMONICS
                raise Fault(0, f"{word[:40]!r} is no instruction and no directive", f"one of: {', '.join(known)}")
        except Fault as fault:
            self._note(started, fault.token, fault.message, fault.help)

    # Instructions

    def _instruction(self, form: InstructionText, line: Line) -> None:
        if not self.part.regions:
            raise Fault(0, "an instruction before the first .region", "every instruction belongs to a region")
        if self.count >= MAX_INSTRUCTIONS:
            self.number = len(self.lines)  # nothing that follows is of interest
            raise Fault(0, f"more than {MAX_INSTRUCTIONS} instructions")
        self.part.code_lines.append(self.number)
        self.count += 1
        values, core = field_values(form, line.tokens)
        self.part.add(Instruction(form.opcode, tuple(values), core))

    def _end_part(self) -> None:
        self.part.flush()
        self.part.end_region()

    # Directives

    def _single(self, key: str, value: str | int) -> None:
        if key in self.single:
            raise Fault(0, "this directive appears twice")
        self.single[key] = value
        self.places[key, 0] = self.number

    def _single_of_part(self, key: str, value: str | int) -> None:
        if key in self.part.single:
            raise Fault(0, "this directive appears twice")
        self.part.single[key] = value
        self.part.places[key, 0] = self.number

    def _append(self, places: dict[tuple[str, int], int], kind: str, entries: list[_Entry], entry: _Entry) -> None:
        if len(entries) == MAX_ENTRIES:
            self.number = len(self.lines)  # nothing that follows is of interest
            raise Fault(0, f"more than {MAX_ENTRIES} of this directive")
        places[kind, len(entries)] = self.number
        entries.append(entry)

    def _version(self, line: Line) -> None:
        version = line.number("a version")
        if version not in (VERSION, SETS_VERSION):
            line.fail(f"version {version} of the text; this dnnc reads {VERSION} and {SETS_VERSION}")
        self._single("version", version)

    def _set(self, line: Line) -> None:
        """What follows belongs to this set, up to the next one."""
        name = line.text("the name of a set")
        when = line.texts("comparisons") if line.accept("when") else ()
        if not self.sets and not self.part.is_empty:
            raise Fault(0, "a set begins after what belongs to none", ".set comes before its tensors and instructions")
        if len(self.sets) == MOST_SETS:
            self.number = len(self.lines)  # nothing that follows is of interest
            raise Fault(0, f"more than {MOST_SETS} sets")
        self._end_part()
        self.part = Part(name, when, self.number)
        self.sets.append(self.part)

    def _arch(self, line: Line) -> None:
        """The machine's description: the lines that follow and start with a bar."""
        line.end()
        first = self.number + 1
        while self.number + 1 < len(self.lines) and self.lines[self.number + 1].startswith("|"):
            self.number += 1
        self._single("arch", "\n".join(each[1:] for each in self.lines[first : self.number + 1]))

    def _tensor(self, line: Line) -> None:
        name = line.text("a tensor's name")
        token = line.take("a type")
        kind: ElementType | HostType
        if token.startswith('"'):
            line.at -= 1
            kind = HostType(line.text("a type"))
        elif token in _ELEMENT_TYPES:
            kind = _ELEMENT_TYPES[token]
        else:
            line.fail(f"{token[:40]!r} is no type", help="ONNX types are in quotes")
        shape = None if line.accept("?") else line.numbers("extents")
        order = line.numbers("axes") if line.accept("order") else None
        address = line.number("an address") if line.accept("at") else None
        self._append(self.part.places, "placements", self.part.placements, Placement(name, kind, shape, order, address))

    def _constant(self, line: Line) -> None:
        address = line.number("an address")
        self._append(self.part.places, "constants", self.part.constants, (address, line.blob()))

    def _call(self, line: Line) -> None:
        name = line.text("a name")
        inputs = line.texts("tensors")
        if line.take("'->'") != "->":
            line.fail("'->' is expected between inputs and outputs")
        outputs = line.texts("tensors")
        model = line.blob()
        operations = line.number("a count of operations") if line.accept("operations") else 0
        self._append(
            self.part.places, "host_calls", self.part.calls, HostCall(name, inputs, outputs, model, operations)
        )

    def _region(self, line: Line) -> None:
        self.part.end_region()
        name, op = line.text("a name"), line.text("an operator")
        where = line.take("accelerator or host")
        dataflow = line.take("a dataflow") if line.accept("dataflow") else None
        im2col = line.take("a kind of im2col") if line.accept("im2col") else None
        source = line.texts("names") if line.accept("source") else ()
        count = len(self.part.code_lines)
        region = Region(name, op, where, count, count - 1, dataflow, im2col, source)
        self._append(self.part.places, "regions", self.part.regions, region)

    def _blob(self, line: Line) -> None:
        """Base64 in the lines that follow, until one is empty or a directive."""
        reference, size = line.blob(), line.number("a number of bytes")
        line.end()
        started = self.number
        while self.number + 1 < len(self.lines) and self.lines[self.number + 1].strip()[:1] not in ("", ".", "#"):
            self.number += 1
        text = "".join(each.strip() for each in self.lines[started + 1 : self.number + 1])
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self._note(started, 1, "the lines that follow are no base64")
            return
        if len(data) != size:
            self._note(started, 2, f"the blob has {len(data)} bytes, not {size}")
        elif hashlib.sha256(data).hexdigest() != reference.sha256:
            self._note(started, 1, "the blob does not have this SHA-256")
        elif reference in self.blobs:
            self._note(started, 1, "the blob appears twice")
        else:
            self.blobs[reference] = data
            self.blob_lines[reference] = started


_MNEMONICS = {MNEMONICS[opcode]: form for opcode, form in INSTRUCTIONS.items()}
_ELEMENT_TYPES = {each.value: each for each in ElementType}
