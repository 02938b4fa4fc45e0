"""An executor on other machines: the workers of a dask scheduler, checked before they are given
work."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from lineage.errors import LineageError

WAIT = 10
"""Seconds in which a scheduler must answer."""


def ours() -> tuple[str, str]:
    """The version of lineage, and the host that it runs on."""
    from lineage import __version__

    return __version__, platform.node()


@contextmanager
def of_scheduler(address: str) -> Iterator[Executor]:
    """The workers of the dask scheduler at `address` (`tcp://host:8786`) as an executor.

    They must have this version of lineage, and reach what is to be read under the same paths.
    Raises LineageError where dask is missing, nobody answers, or the workers are not fit."""
    try:
        from distributed import Client
    except ImportError:
        raise LineageError(
            "--scheduler needs dask: pip install 'checkpoint-lineage[dask]'."
        ) from None
    try:
        client = Client(address, timeout=WAIT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise LineageError(
            f"no dask scheduler answers at {address!r} ({error}). Start one: `dask scheduler`."
        ) from error
    with client:
        _check(address, client.run(ours, on_error="return"))
        yield client.get_executor(pure=False)  # the same file may hold other bytes next time


def _check(address: str, told: dict[str, object]) -> None:
    if not told:
        raise LineageError(
            f"the scheduler at {address!r} has no workers. Start some: `dask worker {address}`."
        )
    here = ours()[0]
    for worker, said in told.items():
        version = said[0] if isinstance(said, tuple) else None
        if version != here:
            found = f"lineage {version}" if version else f"no lineage ({said})"
            raise LineageError(
                f"the worker {worker} has {found}, and this is {here}: install that there."
            )
