"""The process beside a training run: at idle priority it hashes what the run saved and brings its
records into the registry. A process and not a thread, so that it never holds the interpreter lock
that the training needs, and finishes what a killed run left.

It reads a byte from its standard input for each new record, and ends where that ends: with the
run, however that went. What the run should be told goes to its standard output, a JSON line each.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import logging
import os
import platform
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

EXIT_SECONDS = 60.0
"""How long a script that is done waits, at its exit, for the last records to come in. Those that do
not are in the spool, and come in later."""
HEARD_SECONDS = 5.0
"""How long, once it has ended, for what it said."""
RETRY_SECONDS = 30.0
"""Between two attempts to reach a registry that could not be reached."""

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""The number of the Linux system call ioprio_set (unistd.h of each architecture)."""
_IOPRIO_IDLE = 3 << 13  # class idle (linux/ioprio.h)

log = logging.getLogger("lineage")


class Background:
    """What the training side holds of that process. `create` lets it make a registry where there
    is none: one that went away meanwhile is not replaced by an empty one. `tell` is called with
    what it has to say, from a thread."""

    def __init__(
        self, db: str, spool: Path, *, create: bool, allow_network_fs: bool,
        tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        root = Path(__file__).resolve().parents[2]
        above = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(spool),
             *(["create"] if create else []), *(["network"] if allow_network_fs else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            # the address may hold a password, which has no place in a list of processes
            env={**os.environ, "LINEAGE_DB": db, "PYTHONPATH": os.pathsep.join(above),
                 "LINEAGE_COMMAND": os.path.basename(sys.argv[0] or "") or "python"},
            start_new_session=True,  # Ctrl-C is for the training
        )  # fmt: skip
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdin.fileno(), False)
        self._listening = threading.Thread(target=self._listen, args=(tell,), daemon=True)
        self._listening.start()
        atexit.register(self.finish)

    def _listen(self, tell: Callable[[str], None]) -> None:
        last = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            last = line.decode("utf-8", "replace").strip()
            with suppress(ValueError, KeyError, TypeError):
                tell(json.loads(last)["say"])
        if self.process.wait():
            tell(
                f"the process that registers checkpoints ended with {self.process.returncode} "
                f"({last}). They wait in the spool: `lineage sync` brings them in"
            )

    def wake(self) -> None:
        """Tell of a new record."""
        assert self.process.stdin is not None
        with suppress(OSError, ValueError):  # it has enough to do, or is gone and said so
            os.write(self.process.stdin.fileno(), b".")

    def close(self) -> None:
        """No more records come: it ends when it has brought in what is there."""
        assert self.process.stdin is not None
        if self.owner == os.getpid():
            with suppress(OSError):
                self.process.stdin.close()

    def finish(self) -> None:
        """At the exit of the script: wait for it, not for long."""
        if self.owner != os.getpid():  # a fork of the run
            return
        self.close()
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            self.process.wait(EXIT_SECONDS)
            self._listening.join(HEARD_SECONDS)  # or its last words die with this script


# ---- The process itself


def _be_idle() -> None:
    """Let everybody else go first, on the processors and on the disk."""
    with suppress(OSError):
        os.nice(19)
    number = _IOPRIO_SET.get(platform.machine())
    if sys.platform == "linux" and number is not None:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, 1, 0, _IOPRIO_IDLE)


def main(spool: str, *allowed: str) -> None:
    """Bring the spool in whenever there is something new, until the run has ended."""
    _be_idle()
    folder, network = Path(spool), "network" in allowed
    create, said, parent = "create" in allowed, False, os.getppid()
    while True:
        why = _bring_in(folder, create, network)
        if why is None:
            create = False
        elif not said:
            said = True
            _say(f"{why} Checkpoints wait in {folder}, and training goes on")
        if not _more(RETRY_SECONDS if why else None, parent):
            if _left(folder):
                _bring_in(folder, create, network)
            return


def _bring_in(folder: Path, create: bool, network: bool) -> str | None:
    """Bring in what is there; why the registry could not be reached, if so."""
    from lineage import arrivals, database
    from lineage.errors import RegistryUnavailable
    from lineage.store import Store

    try:
        found = database.connect(create=create, allow_network_fs=network)
        try:
            done = arrivals.bring_in(Store(found, os.environ.get("LINEAGE_COMMAND")), folder)
        finally:
            found.close()
    except RegistryUnavailable as error:
        arrivals.bring_in(None, folder)  # hashed while the files are there
        return str(error)
    for file, reason in done.set_aside:
        _say(f"a record was set aside as {file}: {reason}")
    return None


def _left(folder: Path) -> bool:
    from lineage import spool

    return bool(spool.waiting(folder))


def _more(seconds: float | None, parent: int) -> bool:
    """Wait for a new record, or so many seconds; False once the run has ended."""
    waited = 0.0
    while seconds is None or waited < seconds:
        ready, _, _ = select.select([0], [], [], 5.0)
        waited += 5.0
        if ready:
            return bool(os.read(0, 65536))
        if os.getppid() != parent:  # killed, and a child of its own still holds the pipe
            return False
    return True


def _say(sentence: str) -> None:
    with suppress(OSError):  # nobody listens any more
        print(json.dumps({"say": sentence}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
