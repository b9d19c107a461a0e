"""Evaluations on Dask workers: processes of this machine, or those of a cluster that is there.

Each job has one future, and its result is taken once. Where a worker is lost the scheduler gives its jobs to others;
what had come from it stays. A job that loses several workers one after the other ends the study.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import resource_tracker
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from ..ir.diagnostics import CompileError, Diagnostic
from .costs import sources
from .problem import Provider
from .versions import version_text
from .workers import Task

_OF_IMAGES = ("pillow", "scipy")  # beside those of `sources`
ANSWER_S = 10.0  # a scheduler that has not answered by then does not answer
_LONGER_S = 2.0  # until Dask should have said so
# Dask's statistical profiler and its watch on the event loop wake each worker 100 and 50 times a second, which costs
# evaluations a tenth of their time.
_WORKERS = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"}
_HELP = "pip install 'dnnc[explore]', or --workers 1, which needs nothing"


def local_cluster(providers: tuple[Provider, ...], count: int) -> Cluster:
    """`count` processes of this machine, of one thread each. Raises CompileError where they cannot be had."""
    distributed = _distributed()
    # A worker evaluates on one core: threads of libraries would take those of the others.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _quiet()
    import dask

    with _deferred_interrupt(), dask.config.set(_WORKERS):
        cluster = distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=None
        )
        return Cluster(distributed.Client(cluster), cluster, providers, count)


@contextmanager
def _deferred_interrupt() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal. Threads that are started here, and the workers that they start, now
    and later, inherit that it is blocked: it ends this process alone, which ends its workers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # a thread that starts it later has SIGINT unblocked by that
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def remote_cluster(providers: tuple[Provider, ...], address: str) -> Cluster:
    """The workers of the scheduler at `address`, which are sent the files that they need.

    Raises CompileError where it does not answer in time, or has no workers.
    """
    client, count = _reached(address)
    _refuse_other_sources(client, address)
    return Cluster(client, None, packed(providers), count)


def refuse_silent(address: str) -> None:
    """Raises CompileError where the scheduler at `address` does not answer in time, or has no workers: to be told
    before a study is read, which may evaluate something to find a limit."""
    _reached(address)[0].close()


def _reached(address: str) -> tuple[Any, int]:
    """A client of a scheduler, and how many workers that has. Raises CompileError."""
    distributed = _distributed()
    _quiet()
    try:
        client = _answered(lambda: distributed.Client(address, timeout=ANSWER_S))
    except (OSError, TimeoutError, ValueError) as error:
        message = f"the scheduler at {address!r} does not answer: {str(error)[:200] or type(error).__name__}"
        help = "`dask scheduler` prints its address; without --scheduler the study runs on this machine"
        raise CompileError(Diagnostic(message, help=help)) from None
    count = len(client.scheduler_info(n_workers=-1)["workers"])
    if not count:
        client.close()
        help = "`dask worker ADDRESS` starts one, in an environment with dnnc"
        raise CompileError(Diagnostic(f"the scheduler at {address!r} has no workers", help=help))
    return client, count


def _answered(reach: Callable[[], Any]) -> Any:
    """What `reach` gives. Raises TimeoutError where it does not end: Dask waits without end for the greeting of what
    listens and is no scheduler."""
    answers: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def asked() -> None:
        try:
            answers.put((reach(), None))
        except Exception as error:  # noqa: BLE001: it is raised where it was asked for
            answers.put((None, error))

    Thread(target=asked, daemon=True).start()
    try:
        found, error = answers.get(timeout=ANSWER_S + _LONGER_S)
    except Empty:
        raise TimeoutError("something listens there and says nothing that Dask understands") from None
    if error is not None:
        raise error
    return found


def packed(providers: tuple[Provider, ...]) -> tuple[Provider, ...]:
    """With the bytes of their files."""
    return tuple(each.packed() if hasattr(each, "packed") else each for each in providers)


class Cluster:
    """Workers of a client. Providers are sent to each of them once: as the result of a job, which is done again for a
    worker that comes after one that was lost."""

    def __init__(self, client: Any, cluster: Any, providers: tuple[Provider, ...], count: int) -> None:
        self.count = count
        self._client, self._cluster, self._is_view = client, cluster, False
        self._with = evaluates_with()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # a model may be large
            self._providers = client.submit(_given, providers, pure=False)

    def each(self, task: Task, jobs: Iterable[tuple[int, tuple[Any, ...]]]) -> Iterator[tuple[int, Any]]:
        """Raises CompileError where a job has lost several workers; what a job itself raises, raised here."""
        distributed: Any = _distributed()

        waiting = iter(jobs)
        numbers: dict[Any, int] = {}

        def submitted() -> list[Any]:
            """A job for the next worker that is free."""
            for number, arguments in waiting:
                future = self._client.submit(alike, self._with, task, self._providers, *arguments, pure=False)
                numbers[future] = number
                return [future]
            return []

        first = [each for _ in range(2 * self.count) for each in submitted()]
        completed = distributed.as_completed(first)
        for future in completed:
            try:
                result = future.result()
            except distributed.KilledWorker as error:
                message = f"an evaluation lost {error.allowed_failures + 1} workers one after the other"
                help = "what is known is stored: --resume goes on; more memory for each worker, or fewer of them"
                raise CompileError(Diagnostic(message, help=help)) from None
            yield numbers.pop(future), result
            for each in submitted():
                completed.add(each)

    def of(self, providers: tuple[Provider, ...]) -> Cluster:
        found = Cluster(self._client, self._cluster, self._sent(providers), self.count)
        found._is_view = True
        return found

    def _sent(self, providers: tuple[Provider, ...]) -> tuple[Provider, ...]:
        """With their files, where workers are not of this machine."""
        return providers if self._cluster is not None else packed(providers)

    def close(self) -> None:
        if self._is_view:
            return
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def _refuse_other_sources(client: Any, address: str) -> None:
    """Raise CompileError where a worker has another dnnc than this process: its figures might be others."""
    try:
        found = client.run(evaluates_with)
    except (ImportError, AttributeError, RuntimeError) as error:
        client.close()
        help = "install it where `dask worker` runs"
        raise CompileError(Diagnostic(f"workers of {address!r} have no such dnnc: {error}", help=help)) from None
    if other := [each for each in found.items() if each[1] != evaluates_with()]:
        client.close()
        worker, what = other[0]
        raise _other_dnnc(f"worker {worker!r}", what, evaluates_with())


def evaluates_with() -> str:
    """What of a process decides figures beside a study's files."""
    return f"{sources()} {version_text(*_OF_IMAGES)}"


def alike(wanted: str, task: Task, *arguments: Any) -> Any:
    """What a task returns, on a worker with the dnnc that the study was read by. Raises CompileError on another one,
    such as came to the cluster since."""
    if evaluates_with() != wanted:
        raise _other_dnnc(f"a worker on {platform.node()!r}", evaluates_with(), wanted)
    return task(*arguments)


def _other_dnnc(worker: str, found: str, wanted: str) -> CompileError:
    """What a worker evaluates with, beside what it should: a digest of sources, then names and versions."""
    there, here = found.split(), wanted.split()
    ours = dict(zip(here[1::2], here[2::2], strict=True))
    theirs = dict(zip(there[1::2], there[2::2], strict=False))
    other = [f"{name} {theirs.get(name, '-')} (here {ours[name]})" for name in ours if theirs.get(name) != ours[name]]
    message = f"{worker} has {', '.join(other) or 'other sources of dnnc'}"
    return CompileError(Diagnostic(message, help="figures are of one dnnc: install the same one on both"))


def _given(providers: tuple[Provider, ...]) -> tuple[Provider, ...]:
    return providers


def _distributed() -> Any:
    if find_spec("distributed") is None:
        raise CompileError(Diagnostic("more than one worker needs Dask, which is not installed", help=_HELP))
    import distributed

    return distributed


def _quiet() -> None:
    """What Dask logs of workers that come and go, here and there, is no word of ours."""
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    for name in ("distributed", "distributed.nanny", "distributed.worker", "distributed.scheduler", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
