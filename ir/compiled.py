"""How functions are compiled (but those of passes/levels): numba, cached, without the interpreter lock, exact floats.

numba keeps what it compiled per source file and does not see when a function that is called, in another file, changes.
So the cache lies in a folder named after the digest of all sources that compiled code of a package may depend on:
beside them where that is writable, else in the user's cache, else in a private temporary folder.

The first run waits for the compiler. What keeps that short: functions are typed for int64, not for each constant that a
caller passes; only entries become machine code, with all that they call; nothing counts references, as compiled code
allocates nothing; and Python's garbage collector rests meanwhile.

In files whose names begin with `map_`, indices of compiled functions are never negative (tests/ir/test_compiled.py).
"""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import numba
from numba import types
from numba.core import config as numba_config
from numba.core import event
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.np import arrayobj

from .clock import stand_while_compiling
from .files import only_ours

Function = TypeVar("Function", bound=Callable[..., Any])

# Sources whose code or constants become machine code, by the folder of the functions: its own and what it takes of the
# language.
_LANGUAGE = ("../ir/compiled.py", "../ir/program.py", "../ir/encoding.py", "../ir/types.py")
_MAPPER = ("map_*.py", "objective.py")
_SOURCES = {
    "runtime": ("*.py", *_LANGUAGE),
    "passes": (*_MAPPER, *_LANGUAGE),
    "accuracy": ("kernels.py", "tile.py", "../../runtime/fma.py", *(f"../{each}" for each in _LANGUAGE)),
    "benchmarks": ("mapper_speed.py", *(f"../passes/{each}" for each in _MAPPER), *_LANGUAGE),
}
_KEPT_VERSIONS = 4  # folders of older sources that may still be in use by other processes


def compiled(function: Function) -> Function:
    """`function` in nopython mode, for calls from compiled functions only: an entry from Python takes as long to
    compile as many a function. Never fastmath: every rounding is part of the definition. Division by zero gives numpy's
    values, so compiled code never raises; faults are returned as numbers."""
    return _compile(function, no_cpython_wrapper=True, cache=False, pipeline_class=_LinkedCompiler)


def inlined(function: Function) -> Function:
    """The same as `compiled`, and put into every function that calls it: a call passes each field of each array, and
    with some dozens of arrays that takes longer than many a function."""
    return _compile(function, no_cpython_wrapper=True, cache=False, pipeline_class=_LinkedCompiler, forceinline=True)


def compiled_entry(function: Function) -> Function:
    """The same, to be called from Python, and kept on disk with all the code that it calls."""
    return _compile(function, no_cpython_wrapper=False, cache=True)


class _LinkedLibrary(JITCodeLibrary):
    """The code of a function that only compiled functions call: linked into each caller as it was written. It is
    optimised and becomes machine code in an entry only; numba would do both once more for every caller on the way."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self: Any) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self: Any, name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> _LinkedLibrary:
        """For `set_env` alone: the creator of a library is asked to set the environment in its machine code."""
        return self

    def set_env(self, name: str, environment: object) -> None:
        """Nothing: the environment holds Python objects, and compiled code uses none."""


class _LinkedCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        library: Any = _LinkedLibrary  # numba's functions have no types
        passes: Any = DefaultPassBuilder
        self.state.library = library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return [passes.define_nopython_pipeline(self.state)]


class _WhileCompiling(event.Listener):
    """While numba compiles a function of ours (it compiles one, and those that it calls, at a time):

    * No garbage collection: numba makes many objects and few cycles, and a sixth of the time went into looking for
      them.
    * In files of _FROM_ZERO no code for indices below zero, which count from the end elsewhere: that is a comparison
      and a selection for each index of each access, a fifth of what searches take.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._collects = False
        self._indices: list[Any] = []  # how they were compiled before each function that is in progress

    def on_start(self, event: Any) -> None:
        self._indices.append(_arrays.fix_integer_index)
        function = event.data["dispatcher"].py_func
        ours = function in _functions
        from_zero = ours and Path(function.__code__.co_filename).name.startswith(_FROM_ZERO)
        _arrays.fix_integer_index = _index_from_zero if from_zero else _fix_integer_index
        if ours:
            if self._depth == 0:
                self._collects = gc.isenabled()
                gc.disable()
            self._depth += 1

    def on_end(self, event: Any) -> None:
        _arrays.fix_integer_index = self._indices.pop()
        if event.data["dispatcher"].py_func not in _functions:
            return
        self._depth -= 1
        if self._depth == 0 and self._collects:
            gc.enable()


_FROM_ZERO = "map_"
_arrays: Any = arrayobj
_fix_integer_index = _arrays.fix_integer_index


def _index_from_zero(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
    return context.cast(builder, index, kind, types.intp)


_functions: WeakSet[Callable[..., Any]] = WeakSet()


def _compile(function: Function, **options: Any) -> Function:
    _functions.add(function)
    config: Any = numba_config
    njit: Any = numba.njit
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_cache_folder(Path(function.__code__.co_filename).parent))
    try:
        decorated: Function = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, _nrt=False, **options)(
            function
        )
    finally:
        config.CACHE_DIR = before
    _forget_literals(decorated)
    return decorated


def _forget_literals(decorated: Any) -> None:
    """Compile once for int64 instead of once for each constant that some caller passes: a third of the time."""
    get_call_template = decorated.get_call_template
    unliteral: Any = types.unliteral

    def without_literals(arguments: Any, keywords: Any) -> Any:
        plain = {name: unliteral(each) for name, each in keywords.items()}
        return get_call_template([unliteral(each) for each in arguments], plain)

    decorated.get_call_template = without_literals


@cache
def _cache_folder(here: Path) -> Path:
    """For functions whose sources lie in the folder `here`."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(path for pattern in _SOURCES.get(here.name, ("*.py",)) for path in here.glob(pattern)):
        digest.update(path.name.encode() + path.read_bytes())
    for parent in _candidates(here):
        folder = parent / digest.hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.utime(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        if only_ours(folder):
            _drop_old_versions(parent)
            return folder
    return Path(tempfile.mkdtemp(prefix="dnnc-"))


def _candidates(here: Path) -> Iterator[Path]:
    """Folders that may hold compiled code, the best first. Compiled code is executed: nobody else may write there
    (`only_ours`)."""
    yield here / "__pycache__" / "numba"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dnnc" / "numba"
    if hasattr(os, "getuid"):
        private = Path(tempfile.gettempdir()) / f"dnnc-{os.getuid()}"
        try:
            private.mkdir(mode=0o700, exist_ok=True)
            found = private.lstat()
        except OSError:
            return
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            yield private


def _drop_old_versions(parent: Path) -> None:
    try:
        folders = sorted((each for each in parent.iterdir() if each.is_dir()), key=lambda each: -each.stat().st_mtime)
    except OSError:
        return
    for old in folders[_KEPT_VERSIONS:]:
        shutil.rmtree(old, ignore_errors=True)


_register: Any = event.register
_register("numba:compile", _WhileCompiling())
stand_while_compiling()
