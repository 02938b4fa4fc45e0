"""Which meters run on this machine at the same time. A counter of the whole machine counts the work
of all of them, so each must be able to say that it was not alone."""

from __future__ import annotations

import os
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

KEPT_SECONDS = 3600.0
"""How long the entry of an ended interval stays, so that longer ones still see it."""

LOCKED_SECONDS = 60.0
"""After which an entry that is not locked is that of a killed process, and of no use."""

FOLDER = "lineage-meters"
"""In the folder for temporary files, which all users of a machine share."""


class Entry:
    """One running interval among those of the machine: a file that is locked while it runs, and
    then has in its name when it ended, in nanoseconds of the monotonic clock: a training run that
    ends one every second is not to open thousands. Where there can be no such file, nobody is seen
    and nothing is said."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / FOLDER
        self._name = uuid.uuid4().hex
        self._began = time.monotonic_ns()
        self._met = False
        self._file = -1
        with suppress(OSError):
            self._open()

    def _open(self) -> None:
        import fcntl

        with suppress(FileExistsError):
            self._folder.mkdir()
            self._folder.chmod(0o1777)  # each user's entries are their own
        if not stat.S_ISDIR(self._folder.lstat().st_mode):
            return
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
        self._file = os.open(self._folder / self._name, flags, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def look(self) -> None:
        """Note whether another interval runs now, or ran since this one began."""
        if self._file >= 0 and not self._met:
            self._met = any(ended is None or ended > self._began for ended in self._others())

    def _others(self) -> Iterator[int | None]:
        """When the other intervals ended, None for those that run."""
        with suppress(OSError):
            for entry in os.scandir(self._folder):
                if entry.name != self._name:
                    with suppress(OSError, ValueError):
                        yield _ended(entry)

    def end(self) -> bool:
        """End the interval; whether it overlapped another one."""
        self.look()
        if self._file >= 0:
            import fcntl

            with suppress(OSError):
                path = self._folder / self._name
                path.rename(f"{path}-{time.monotonic_ns()}")
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)  # a forked child may hold the file open
            os.close(self._file)
            self._file = -1
        return self._met


def _ended(entry: os.DirEntry[str]) -> int | None:
    """When the interval of an entry ended; None while it runs. One that was killed ended at an
    unknown time: 0, before all others. What is old is taken away."""
    import fcntl

    _, dash, ended = entry.name.partition("-")
    if dash:
        age = time.monotonic_ns() - int(ended)
        if not 0 <= age < KEPT_SECONDS * 1e9:  # below 0: of before the machine was started
            os.unlink(entry.path)
        return int(ended)
    file = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if time.time() - os.fstat(file).st_mtime > LOCKED_SECONDS:
            os.unlink(entry.path)
        return 0
    except BlockingIOError:
        return None
    finally:
        os.close(file)
