"""Files on a disk: moved into a quarantine beside their folder, checked there, put back, deleted.
No word of SQL. Every step is relative to an open folder and follows no link, and what was moved is
looked at after the move, so that there is no race to win: what is wrong then goes back.

    PARENT/checkpoint-500/model.safetensors
    PARENT/.lineage-quarantine/lock                          held while files are moved
    PARENT/.lineage-quarantine/ID/manifest.json              written, and on the disk, before a move
    PARENT/.lineage-quarantine/ID/files/model.safetensors
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import posixpath
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lineage.errors import CullError
from lineage.organism import File

FOLDER = ".lineage-quarantine"
LOCK = "lock"
MANIFEST = "manifest.json"
FILES = "files"
BLOCK = 1 << 20
MOST = 64 << 20
"""Bytes of the longest manifest that is read."""
TICK = 2_000_000_000
"""Nanoseconds within which two changes may have the same time: on FAT, two seconds."""

ABOUT = "Files that `lineage cull` took away. `lineage restore` puts them back where they were."

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HUB_CACHE = re.compile(r"(?:^|/)models--[^/]+/(?:snapshots|blobs|refs)(?:/|$)")

Tell = Callable[[int], object]
"""Told how many more bytes were hashed."""


@dataclass(frozen=True, slots=True)
class Left:
    """A file that stays where it is, and why."""

    path: str
    reason: str


def in_hub_cache(uri: str) -> bool:
    """Whether a path leads into a Hugging Face cache, whose files are links to shared blobs."""
    return bool(_HUB_CACHE.search(uri) or _HUB_CACHE.search(os.path.realpath(uri)))


# ---- A place, opened


class Site:
    """The files of a place. `beside` is the open folder in which the place lies, and its quarantine
    too; `root` the open folder that the paths of its files are relative to: the same one, where the
    place is a single file."""

    def __init__(
        self, stack: ExitStack, uri: str, single: bool, make: Mapping[str, int], linked: bool
    ) -> None:
        self.stack = stack
        self.uri = uri
        self.single = single
        self.parent, self.name = os.path.split(uri.rstrip("/"))
        if not self.name:
            raise CullError(f"{uri} has no folder above it in which a quarantine could lie.")
        self.linked = linked
        self.beside = self._keep(self._above())
        self.make = make
        self.folders: dict[str, int] = {}
        self.root = self.beside if single else self._enter(self.beside, self.name, "")
        self.folders[""] = self.root

    def _above(self) -> int:
        """Open the folder that the place is in: a link to it is followed only where `linked`."""
        try:
            return os.open(self.parent, _ENTER & ~os.O_NOFOLLOW if self.linked else _ENTER)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and os.path.islink(self.parent):
                raise _is_a_link(self.parent) from None
            raise

    def _keep(self, opened: int) -> int:
        self.stack.callback(os.close, opened)
        return opened

    def _enter(self, above: int, name: str, inside: str) -> int:
        """Open a folder in an open folder. One that is to be there again is made."""
        if inside in self.make:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
                os.chmod(name, self.make[inside], dir_fd=above)
        try:
            return self._keep(os.open(name, _ENTER, dir_fd=above))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                what = posixpath.join(self.uri, inside) if inside else self.uri
                raise CullError(
                    f"{what} is a link, or no folder: what it leads to may be somebody else's."
                ) from None
            raise

    def folder(self, inside: str) -> int:
        """A folder within the place, open: `""` is the place itself. No link is followed."""
        if inside not in self.folders:
            above, _, name = inside.rpartition("/")
            if name in ("", ".", ".."):
                raise CullError(f"{inside!r} is no path within {self.uri}.")
            self.folders[inside] = self._enter(self.folder(above), name, inside)
        return self.folders[inside]

    def at(self, path: str) -> tuple[int, str]:
        """The open folder of a file within the place, and its name in it."""
        inside, _, name = path.rpartition("/")
        if name in ("", ".", "..") or path.startswith("/"):
            raise CullError(f"{path!r} is no path within {self.uri}.")
        return self.folder(inside), name

    def real(self, path: str) -> str:
        """The path of a file within the place, links on the way to the place resolved."""
        above = os.path.realpath(self.parent)
        return os.path.join(above, path) if self.single else os.path.join(above, self.name, path)

    def strayed(self) -> str:
        """A folder that is not where it was opened any more; empty where all are."""
        if not _is(self.beside, self.parent, follow=self.linked):
            return self.parent
        for inside, opened in self.folders.items():
            upper, _, name = inside.rpartition("/")
            if inside:
                same = _is(opened, name, self.folders[upper])
            else:
                same = self.single or _is(opened, self.name, self.beside)
            if not same:
                return posixpath.join(self.uri, inside)
        return ""

    def modes(self, paths: Iterable[str]) -> dict[str, int]:
        """The permissions of the folders that these files are in, from the place on down."""
        found: dict[str, int] = {}
        for path in paths:
            inside = posixpath.dirname(path)
            while inside not in found:
                found[inside] = stat.S_IMODE(os.fstat(self.folder(inside)).st_mode)
                inside = posixpath.dirname(inside)
        if self.single:
            del found[""]
        return dict(sorted(found.items()))


def _is_a_link(path: str) -> CullError:
    return CullError(
        f"{path} is a link to {os.path.realpath(path)}. Register what is there by that path, and "
        "it can be culled there."
    )


def _is(opened: int, name: str, above: int | None = None, *, follow: bool = False) -> bool:
    """Whether an open folder is what lies under a name, in another open folder or anywhere."""
    try:
        there = os.stat(name, dir_fd=above, follow_symlinks=follow)
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(opened))


@contextmanager
def opened(
    uri: str, *, single: bool | None = None, make: Mapping[str, int] | None = None
) -> Iterator[Site]:
    """A place on this disk, opened. `single`: whether it is one file; looked up when not given.
    `make` names folders within it, with their permissions, that are made where they are missing.

    Raises CullError where it is a link, or one file in a folder that is a link (which is no matter
    where `single` is given: what was moved goes back beside its box); OSError where it cannot be
    opened."""
    linked = single is not None
    if single is None:
        status = os.lstat(uri)
        if stat.S_ISLNK(status.st_mode):
            raise _is_a_link(uri)
        single = not stat.S_ISDIR(status.st_mode)
    with ExitStack() as stack:
        yield Site(stack, uri, single, make or {}, linked or not single)


MISSING = "it is not there"


def unfit(site: Site, file: File) -> str:
    """Why a file is not to be moved, as far as can be told without reading it; empty if it is."""
    try:
        above, name = site.at(file.path)
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return MISSING
    except CullError as error:
        return str(error).rstrip(".")
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    return _wrong(status, file)


def _wrong(status: os.stat_result, file: File) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "it is a link: what it leads to may be somebody else's"
    if not stat.S_ISREG(status.st_mode):
        return "it is no file any more"
    if status.st_nlink > 1:
        return (
            f"it has {status.st_nlink} names (hard links): another one may be in use, and taking "
            "one away frees nothing"
        )
    if status.st_size != file.bytes:
        return f"it has changed: {status.st_size:,} bytes, not {file.bytes:,}"
    return ""


def unlisted(site: Site, paths: Iterable[str]) -> list[str]:
    """What lies in the folder of a place and was not listed when it was registered: files, and
    folders (with a slash behind) that hold nothing listed."""
    if site.single:
        return []
    listed = set(paths)
    above = {""}
    for path in listed:
        parts = path.split("/")[:-1]
        above.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    found = []
    for inside in sorted(above):
        with suppress(OSError, CullError):
            for name in os.listdir(site.folder(inside)):
                path = posixpath.join(inside, name)
                if path not in listed and path not in above:
                    status = os.stat(name, dir_fd=site.folder(inside), follow_symlinks=False)
                    found.append(path + "/" * stat.S_ISDIR(status.st_mode))
    return sorted(found)


# ---- The quarantine beside it


@contextmanager
def claimed(beside: int, path: str, *, make: bool = True) -> Iterator[int]:
    """The quarantine in an open folder, whose path is `path`, locked against others: an open
    folder. Where it is empty in the end it is taken away again.

    Raises CullError while another process holds it, FileNotFoundError where there is none."""
    where = os.path.join(path, FOLDER)
    while True:
        if make:
            with suppress(FileExistsError):
                os.mkdir(FOLDER, 0o777, dir_fd=beside)
        try:
            root = os.open(FOLDER, _ENTER, dir_fd=beside)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise CullError(f"{where} is a link, or no folder. Take it away.") from None
            raise
        try:
            held = _locked(root, where)
            if held is None:
                continue
            try:
                yield root
            finally:
                with suppress(OSError):
                    if os.listdir(root) == [LOCK]:
                        os.unlink(LOCK, dir_fd=root)
                        os.rmdir(FOLDER, dir_fd=beside)
                os.close(held)
            return
        finally:
            os.close(root)


def _locked(root: int, where: str) -> int | None:
    """The lock of a quarantine, held until it is closed or this process ends; None where it was
    taken away meanwhile."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    held = os.open(LOCK, flags, 0o666, dir_fd=root)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise CullError(
            f"another process is moving files of {where} right now. Try again when it has ended."
        ) from None
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(held), os.stat(LOCK, dir_fd=root, follow_symlinks=False)):
            return held
    os.close(held)
    return None


@dataclass(slots=True)
class Box:
    """One quarantine folder: `path` of it, `root` the open folder in which it lies, its `id`, and
    what its manifest says."""

    path: str
    root: int
    id: str
    manifest: dict[str, Any]
    stack: ExitStack
    fd: int = -1
    folders: dict[str, int] = field(default_factory=dict)
    known: dict[str, tuple[File, list[int] | None]] = field(default_factory=dict)

    @property
    def made(self) -> int:
        """When it was made, in nanoseconds since 1970."""
        return int(datetime.fromisoformat(self.manifest["at"]).timestamp() * 1e9)

    @property
    def files(self) -> list[File]:
        """The files that were to be moved here."""
        keys = ("path", "bytes", "sha256", "genome")
        return [File(*(one[key] for key in keys)) for one in self.manifest["files"]]

    def entry(self, path: str) -> tuple[File, list[int] | None] | None:
        """A file as the manifest has it, with the stamp that it had when it was looked at here."""
        if not self.known:
            stamps = [one.get("stamp") for one in self.manifest["files"]]
            files = zip(self.files, stamps, strict=True)
            self.known = {file.path: (file, stamp) for file, stamp in files}
        return self.known.get(path)

    def open(self) -> None:
        self.fd = os.open(self.id, _ENTER, dir_fd=self.root)
        self.stack.callback(os.close, self.fd)

    def at(self, path: str, *, make: bool = False) -> tuple[int, str]:
        """The open folder of a file in the box, and its name in it."""
        inside, _, name = path.rpartition("/")
        return self._folder(inside, make), name

    def _folder(self, inside: str, make: bool) -> int:
        if inside not in self.folders:
            above, _, name = inside.rpartition("/")
            if name in (".", ".."):
                raise CullError(f"{inside!r} is no path within {self.path}.")
            upper = self._folder(above, make) if inside else self.fd
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name or FILES, 0o700, dir_fd=upper)
            held = os.open(name or FILES, _ENTER, dir_fd=upper)
            self.stack.callback(os.close, held)
            self.folders[inside] = held
        return self.folders[inside]

    def status(self, path: str) -> os.stat_result | None:
        """The status of a file in the box, None where it is not in it."""
        try:
            above, name = self.at(path)
            return os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def write(self) -> None:
        """Write the manifest; it is on the disk then."""
        temporary = f"{MANIFEST}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        held = os.open(temporary, flags, 0o600, dir_fd=self.fd)
        with os.fdopen(held, "w", encoding="utf-8") as file:
            json.dump(self.manifest, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, MANIFEST, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        for folder in (self.fd, self.root):
            os.fsync(folder)

    def sync(self, site: Site) -> None:
        """Let the moves so far survive a power loss."""
        for folder in (*self.folders.values(), *site.folders.values()):
            os.fsync(folder)

    def remove(self) -> bool:
        """Take the box away where no file is in it any more; whether it was."""
        _prune(self.fd, FILES)
        if FILES in os.listdir(self.fd):
            return False
        for name in (MANIFEST, f"{MANIFEST}.new"):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.fd)
        with suppress(OSError):
            os.rmdir(self.id, dir_fd=self.root)
        return True


def _prune(above: int, name: str) -> None:
    """Take away folders that are empty, from the deepest up."""
    try:
        held = os.open(name, _ENTER, dir_fd=above)
    except OSError:
        return
    try:
        for inner in os.listdir(held):
            _prune(held, inner)
    finally:
        os.close(held)
    with suppress(OSError):
        os.rmdir(name, dir_fd=above)


@contextmanager
def new_box(site: Site, root: int, manifest: Mapping[str, Any]) -> Iterator[Box]:
    """A new box, its manifest on the disk. Where no file is in it in the end, it goes again."""
    now = datetime.now(UTC)
    own = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        where = os.path.join(site.parent, FOLDER, own)
        box = Box(where, root, own, {"about": ABOUT, **manifest}, stack)
        os.mkdir(own, 0o700, dir_fd=root)
        try:
            box.open()
            if os.fstat(box.fd).st_dev != os.fstat(site.root).st_dev:
                raise CullError(
                    f"{site.uri} is a disk of its own, and a quarantine beside it would be on "
                    "another one. Register the checkpoints within it instead."
                )
            box.write()
            yield box
        finally:
            if box.fd >= 0:
                box.remove()
            else:
                os.rmdir(own, dir_fd=root)


@contextmanager
def old_box(path: str, root: int) -> Iterator[Box]:
    """A box that is there, in the open quarantine `root`. Raises CullError, where its manifest
    cannot be read, or FileNotFoundError."""
    with ExitStack() as stack:
        box = Box(path, root, os.path.basename(path), {}, stack)
        box.open()
        box.manifest = _read(box)
        yield box


def _read(box: Box) -> dict[str, Any]:
    where = os.path.join(box.path, MANIFEST)
    try:
        held = os.open(MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=box.fd)
        with os.fdopen(held, "rb") as file:
            found = json.loads(file.read(MOST))
        found["files"] = [
            {"path": str(one["path"]), "bytes": int(one["bytes"]), "sha256": str(one["sha256"]),
             "genome": bool(one["genome"]), "stamp": one.get("stamp")}
            for one in found["files"]
        ]  # fmt: skip
        found["folders"] = {str(key): int(mode) for key, mode in found["folders"].items()}
        found["single"] = bool(found["single"])
        texts = {key: str(found[key]) for key in ("place", "registry", "host", "at")}
        datetime.fromisoformat(texts["at"])
        return {**found, **texts, "digest": found.get("digest")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CullError(
            f"{where} cannot be read ({error}), so nothing there is touched. The files lie in "
            f"{os.path.join(box.path, FILES)}, as they did in their folder."
        ) from error


def boxes(parent: str) -> list[str]:
    """The paths of all boxes in the quarantine in a folder, oldest first."""
    where = os.path.join(parent, FOLDER)
    try:
        return [os.path.join(where, name) for name in sorted(os.listdir(where)) if name != LOCK]
    except OSError:
        return []


@contextmanager
def looked_into(path: str) -> Iterator[Box]:
    """A box that is only looked at, whoever else is at work there. Raises as `old_box` does."""
    root = os.open(os.path.dirname(path), _ENTER)
    try:
        with old_box(path, root) as box:
            yield box
    finally:
        os.close(root)


# ---- In, and back


def take(site: Site, box: Box, files: Sequence[File], tell: Tell) -> list[Left]:
    """Move files into the box, and look at each there: what is not what was registered goes back.
    A weight file that cannot be had takes all others back with it, since the rest would belong to
    weights that nobody knows. What was left; all the others are in the box, on the disk, and the
    manifest has a stamp of each. When this raises, all files are where they were."""
    left: list[Left] = []
    moved: list[File] = []
    try:
        for file in files:
            if why := _move(site, box, file):
                left.append(Left(file.path, why))
                if file.genome:
                    raise _Spoilt(file.path, why)
            else:
                moved.append(file)
        box.sync(site)
        stamps = {}
        for file in tuple(moved):
            why, stamp = _differs(box, file, tell)
            if why:
                moved.remove(file)
                where = put_back(site, box, file.path)
                left.append(Left(file.path, f"{why}{where}"))
                if file.genome:
                    raise _Spoilt(file.path, why)
            else:
                stamps[file.path] = stamp
        if strayed := site.strayed():
            raise CullError(f"{strayed} was moved or replaced meanwhile, so nothing of it is.")
        for one in box.manifest["files"]:
            one["stamp"] = stamps.get(one["path"])
        box.write()
    except BaseException as error:
        spoilt = [put for file in moved if (put := put_back(site, box, file.path))]
        if isinstance(error, _Spoilt):
            raise CullError(f"{error}{''.join(spoilt)}") from None
        raise
    return left


class _Spoilt(Exception):
    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"its weight file {path} stays ({why}), and so all stays with it")


def _move(site: Site, box: Box, file: File) -> str:
    """Move a file into the box; why it was not, where it was not."""
    if why := unfit(site, file):
        return why
    try:
        (above, name), (inner, _) = site.at(file.path), box.at(file.path, make=True)
        os.rename(name, name, src_dir_fd=above, dst_dir_fd=inner)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return "it is on another disk than its quarantine would be"
        return f"it cannot be moved: {error.strerror}"
    return ""


def _differs(box: Box, file: File, tell: Tell) -> tuple[str, list[int]]:
    """Why a file in the box is not the one that was registered, and its stamp, by which a later
    look knows it again."""
    above, name = box.at(file.path)
    try:
        # a pipe that somebody put in its place would wait for a writer
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        held = os.open(name, flags, dir_fd=above)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "it became a link", []
        return f"it cannot be read: {error.strerror}", []
    with os.fdopen(held, "rb", buffering=0) as opened_file:
        before = os.fstat(held)
        if why := _wrong(before, file):
            return why, []
        digest = hashlib.sha256()
        try:
            while block := opened_file.read(BLOCK):
                digest.update(block)
                tell(len(block))
        except OSError as error:
            return f"it cannot be read: {error.strerror}", []
        after = os.fstat(held)
    if _stamp(before) != _stamp(after) or after.st_nlink > 1:
        return "it changed while it was read", []
    if digest.hexdigest() != file.sha256:
        return "it has changed: other bytes of the same size", []
    return "", _stamp(after)


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def touched(box: Box, path: str) -> bool:
    """Whether a file in a box shows that it was written to, or linked, since it was read there. Not
    by its inode: some network disks number files anew whenever they are asked."""
    status, known = box.status(path), box.entry(path)
    if status is None or known is None or known[1] is None or status.st_nlink > 1:
        return True
    return _stamp(status)[1:] != known[1][1:]


def put_back(site: Site, box: Box, path: str) -> str:
    """Put a file back where it was. Where something lies there meanwhile nothing is overwritten: it
    goes beside that, and the words for it are returned. What cannot be put back at all stays in the
    box, from where the next `cull` or `restore` takes it."""
    try:
        inner, name = box.at(path)
        above, _ = site.at(path)
        if _lay(inner, name, above, name):
            return ""
        number = 1
        while not _lay(inner, name, above, aside := f"{name}.put-back-{number}"):
            number += 1
        return f"; the place of {path} was taken meanwhile, so it lies there as {aside}"
    except OSError as error:
        where = posixpath.join(box.path, FILES, path)
        return f"; {path} could not be put back ({error.strerror}) and lies in {where}"


def _lay(inner: int, name: str, above: int, wanted: str) -> bool:
    """Move a file out of the box under a name that is free; False where it is not."""
    status = os.stat(name, dir_fd=inner, follow_symlinks=False)
    with suppress(FileNotFoundError):
        there = os.stat(wanted, dir_fd=above, follow_symlinks=False)
        if os.path.samestat(there, status):  # of a process that was killed just here
            os.unlink(name, dir_fd=inner)
            return True
        return False
    if stat.S_ISREG(status.st_mode):
        try:  # a link never overwrites, whoever else is at work
            os.link(name, wanted, src_dir_fd=inner, dst_dir_fd=above, follow_symlinks=False)
            os.unlink(name, dir_fd=inner)
            return True
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            pass
    os.rename(name, wanted, src_dir_fd=inner, dst_dir_fd=above)
    return True


def back(site: Site, box: Box, paths: Iterable[str]) -> tuple[list[str], list[Left]]:
    """Put files back from a box: those that are back (or were already), and those that stay in it,
    since something else lies in their place."""
    done: list[str] = []
    left: list[Left] = []
    for path in paths:
        try:
            above, name = site.at(path)
            inside = box.status(path)
            if inside is None:
                os.stat(name, dir_fd=above, follow_symlinks=False)  # back already
                done.append(path)
            elif _lay(box.at(path)[0], name, above, name):
                done.append(path)
            else:
                left.append(Left(path, "something else lies in its place: nothing is overwritten"))
        except FileNotFoundError:
            left.append(Left(path, f"it is neither in {box.path} nor in its place"))
        except CullError as error:
            left.append(Left(path, str(error).rstrip(".")))
        except OSError as error:
            left.append(Left(path, f"it cannot be moved: {error.strerror}"))
    box.sync(site)
    return done, left


def tidy(site: Site, folders: Iterable[str]) -> None:
    """Take away the folders of a place that are empty now: a trainer would take an empty
    checkpoint folder for its latest checkpoint."""
    for inside in sorted(folders, key=len, reverse=True):
        with suppress(OSError, CullError):
            if inside:
                upper, _, name = inside.rpartition("/")
                os.rmdir(name, dir_fd=site.folder(upper))
            else:
                os.rmdir(site.name, dir_fd=site.beside)


def altered(box: Box, path: str, tell: Tell, *, deep: bool = False) -> str:
    """Why a file in a box is not any more what was put there, empty where it is. Its stamp tells;
    where that is another one, or with `deep`, its bytes. So do they where the file was fresh when
    it came: a clock ticks some milliseconds, in which a second change leaves the same time."""
    known = box.entry(path)
    if known is None:
        return "the manifest beside it does not name it"
    file, stamp = known
    status = box.status(path)
    settled = stamp is not None and stamp[2] < box.made - TICK
    if status is None or (_stamp(status) == stamp and settled and not deep):
        return ""
    return _differs(box, file, tell)[0]


def delete(box: Box, paths: Iterable[str], tell: Tell) -> tuple[list[str], list[Left]]:
    """Delete files from a box for good: those that are gone, and those that stay, since they are
    not any more what was put there."""
    gone: list[str] = []
    left: list[Left] = []
    for path in paths:
        if why := altered(box, path, tell):
            left.append(Left(path, why))
            continue
        status = box.status(path)
        try:
            if status is not None:
                above, name = box.at(path)
                os.unlink(name, dir_fd=above)
            gone.append(path)
        except OSError as error:
            left.append(Left(path, f"it cannot be deleted: {error.strerror}"))
    for folder in box.folders.values():
        os.fsync(folder)
    return gone, left
