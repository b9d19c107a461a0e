"""Entry point of `dnnc`: imports the command that is asked for, turns faults into diagnostics and exit statuses.

0 done; 1 a check did not hold; 2 the input is wrong; 3 our fault.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import NoReturn

from ..ir.diagnostics import BrokenPass, CompileError, closest, near

DONE, CHECK_FAILED, WRONG_INPUT, OUR_FAULT, INTERRUPTED = 0, 1, 2, 3, 130

# New objects between two collections. A command makes little garbage that counting references leaves, and hundreds of
# thousands of objects that stay: at Python's own 700, looking for the one among the other takes as long as an import.
_COLLECT_AFTER = 100_000

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# Command, module, what it is for. The order is that of the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "compile, cost, run and check the bundled model, and what to try next"),
    "check": ("check", "every node of a model: accelerator, host, or unsupported with a hint"),
    "compile": ("compile", "a model to a program (.dnnx) for an architecture"),
    "cost": ("cost", "cycles, traffic and energy of a model, without a program"),
    "run": ("run", "execute a program bit for bit on the reference machine; compare with onnxruntime"),
    "opt": ("opt", "run passes on the text of a module (.dnnir); verify it"),
    "asm": ("asm", "assembly text to a program"),
    "disasm": ("disasm", "a program to assembly text"),
    "arch": ("arch", "list, show, check or import architecture descriptions"),
    "validate": ("validate", "published truths rerun: ours, theirs, error and source"),
    "plot": ("plot", "pictures of statistics, as SVG or PNG"),
    "explore": ("explore", "search machines and decisions for the best trade-offs; execute the front"),
    "finetune": ("finetune", "train the weights of a float model for few bits, with PyTorch"),
}

_USAGE = """\
usage: dnnc COMMAND ... [--debug]

Compile ONNX models for accelerators that you describe; know what they cost; run them bit for bit.

commands:
{commands}

examples:
  dnnc demo
  dnnc check model.onnx --arch gemmini16
  dnnc compile model.onnx --arch gemmini16 -o model.dnnx
  dnnc cost model.onnx --arch my_machine.yaml --explain
  dnnc run model.dnnx --inputs inputs.npz --check model.onnx

`dnnc COMMAND --help` explains a command. `dnnc --version` prints the version.
Exit status: 0 done, 1 a check did not hold, 2 the input is wrong, 3 a fault of dnnc (--debug shows where).
"""


class Parser(argparse.ArgumentParser):
    """argparse with diagnostics in the form of all others."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        meant = near(wrong[1], re.findall(r"[^\s',]+", wrong[2])) if wrong else ""
        help = f"did you mean {meant!r}?" if meant else f"{self.prog} --help"
        print(f"{self.prog}: error: {message}\nhelp: {help}", file=sys.stderr)
        sys.exit(WRONG_INPUT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    gc.set_threshold(_COLLECT_AFTER)
    if argv is None:  # a process of its own: its end takes all there is, without a search for what refers to itself
        atexit.register(gc.freeze)
        # To start threads and their memory takes numpy's linear algebra as long as all else of its import, and what
        # little there is of it here is small.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        status = _dispatch(words)
        sys.stdout.flush()
        return status
    except SystemExit as end:  # argparse has printed what there is to say
        return end.code if isinstance(end.code, int) else DONE
    except BrokenPipeError:  # the reader of our output has gone; nobody is left to be told
        _drop_standard_output()
        return DONE
    except OSError as error:  # outputs have diagnostics of their own
        if debug or error.errno not in _FULL:
            return _our_fault(error, debug)
        _drop_standard_output()
        place = error.filename or f"<standard output, or a temporary file in {tempfile.gettempdir()}>"
        print(f"{place}: error: cannot write: {error.strerror}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except CompileError as error:
        if debug:
            raise
        for diagnostic in error.diagnostics:
            print(diagnostic, file=sys.stderr)
        return WRONG_INPUT
    except MemoryError:
        if debug:
            raise
        print("error: this needs more memory than there is", file=sys.stderr)
        return WRONG_INPUT
    except Exception as error:  # the last resort: the user is owed an answer, not a traceback
        return _our_fault(error, debug)


def _our_fault(error: Exception, debug: bool) -> int:
    if debug:
        raise error
    kind = "a pass wrote an illegal module" if isinstance(error, BrokenPass) else type(error).__name__
    print(f"internal error: {kind}: {error}\nhelp: this is a fault of dnnc; --debug shows where", file=sys.stderr)
    return OUR_FAULT


def _drop_standard_output() -> None:
    """So that the interpreter does not try again, at its end, to write what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        listing = "\n".join(f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
        print(_USAGE.format(commands=listing), file=sys.stdout if words else sys.stderr, end="")
        return DONE if words else WRONG_INPUT
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"dnnc {version('dnnc')}")
        return DONE
    name, *rest = words
    if name not in COMMANDS:
        print(f"dnnc: error: there is no command {name!r}\nhelp: {closest(name, COMMANDS)}", file=sys.stderr)
        return WRONG_INPUT
    module_name, summary = COMMANDS[name]
    command = importlib.import_module(f".{module_name}", __package__)
    parser = Parser(prog=f"dnnc {name}", description=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(command=name)
    command.configure(parser)
    parser.add_argument("--debug", action="store_true", help="show where a fault, or what is refused, comes from")
    status: int = command.run(parser.parse_args(rest))
    return status


if __name__ == "__main__":
    sys.exit(main())
