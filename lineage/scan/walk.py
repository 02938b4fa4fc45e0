"""What checkpoints lie below some folders: one walk that opens no file, and follows no link to a
folder or out of what is scanned."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lineage import genome, remote
from lineage.errors import LineageError

Stamp = tuple[int, int | None]
"""The size of a file in bytes, and when it was modified, in nanoseconds since 1970; None where
the file system does not tell."""

# What says that all weights of a folder are one checkpoint, and what says it of all below it.
ONE = frozenset({
    "config.json", "adapter_config.json", "trainer_state.json", "mergekit_config.yml",
    "mergekit_config.yaml", "params.json", "training_args.bin",
})  # fmt: skip
ALL_BELOW = frozenset({"model_index.json", "modules.json"})
# Formats in which each file is a checkpoint of its own, unless it is a shard.
_OWN = (".gguf", ".ckpt")
# Formats that are believed to hold weights whatever the file is called. A .bin or .npz may be data.
_BELIEVED = (".safetensors", ".gguf", ".onnx", ".ckpt", ".pt", ".pth", ".keras")
_SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})([.][^.]+)", re.DOTALL)
_BLOB = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(slots=True)
class Candidate:
    """A checkpoint as the walk found it: `files` by their path within `folder`; `place` is the
    folder, or the one file of it; `hub` its `hf:org/name@commit` in the Hugging Face cache, whose
    blobs have known `digests`; `beside` is the folder whose README speaks of several files, of
    which this is one; `root` is the folder that was asked for."""

    place: str
    folder: str
    root: str
    files: dict[str, Stamp]
    hub: str | None = None
    digests: dict[str, str] = field(default_factory=dict)
    beside: str | None = None
    alone: bool = True

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.files.values())

    @property
    def dated(self) -> bool:
        """Whether its times tell that it is unchanged."""
        return all(modified is not None for _, modified in self.files.values())


@dataclass(slots=True)
class Walked:
    """What a walk found: checkpoints, what was set aside as (path, reason), how many files it saw,
    and which commit `main` is, by repository of the Hugging Face cache."""

    candidates: list[Candidate] = field(default_factory=list)
    set_aside: list[tuple[str, str]] = field(default_factory=list)
    seen: int = 0
    main: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Folder:
    path: str
    files: dict[str, Stamp] = field(default_factory=dict)
    folders: dict[str, _Folder] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Weight files that cannot be had, with the reason."""


def walk(roots: Sequence[str | os.PathLike[str]]) -> Walked:
    """Walk below `roots`, folders or URIs. Raises LineageError for a root that is no folder; what
    is wrong further down is set aside."""
    given = sorted({remote.absolute(os.fspath(root)) for root in roots})
    local = [root for root in given if not remote.is_remote(root)]
    for root in local:
        if not os.path.isdir(root):
            raise LineageError(f"{root!r} is no folder that can be scanned. Name a folder.")
    inside = [_ended(os.path.realpath(root)) for root in local]
    found = Walked()
    for root in given:
        if any(root != other and root.startswith(_ended(other)) for other in given):
            continue
        top = _listed(root, inside, found) if root in local else _listed_elsewhere(root, found)
        _visit(top, root, found)
    return found


def _listed_elsewhere(root: str, found: Walked) -> _Folder:
    """The tree below a URI, hidden files and folders left out."""
    top = _Folder(root)
    for path, stamp in remote.listing(root).items():
        *folders, name = path.split("/")
        if any(part.startswith(".") for part in (*folders, name)):
            continue
        folder = top
        for part in folders:
            inner = f"{_ended(folder.path)}{part}"
            folder = folder.folders.setdefault(part, _Folder(inner))
        folder.files[name] = stamp
        found.seen += 1
    return top


def _ended(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"


def _listed(root: str, inside: Sequence[str], found: Walked) -> _Folder:
    """The tree below `root`, hidden files and folders left out."""
    top = _Folder(root)
    todo = [top]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(folder.path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        inner = _Folder(f"{_ended(folder.path)}{entry.name}")
                        folder.folders[entry.name] = inner
                        todo.append(inner)
                    elif entry.is_symlink():
                        _link(entry, folder, inside)
                    else:
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            folder.files[entry.name] = (status.st_size, status.st_mtime_ns)
        except OSError as error:
            found.set_aside.append((folder.path, f"cannot be read: {error.strerror or error}."))
        found.seen += len(folder.files)
    return top


def _link(entry: os.DirEntry[str], folder: _Folder, inside: Sequence[str]) -> None:
    """A link to a file within what is scanned counts as the file."""
    try:
        status = entry.stat()
        target = os.path.realpath(entry.path)
    except OSError as error:
        if genome.is_weights(entry.name):
            folder.broken[entry.name] = f"leads nowhere: {error.strerror or error}."
        return
    if not stat.S_ISREG(status.st_mode):
        return
    if any(target.startswith(one) for one in inside):
        folder.files[entry.name] = (status.st_size, status.st_mtime_ns)
        folder.links[entry.name] = target
    elif genome.is_weights(entry.name):
        folder.broken[entry.name] = (
            "is a link out of the folders that are scanned, and was not followed. Scan the folder "
            "that it leads to as well."
        )


def _visit(top: _Folder, root: str, found: Walked) -> None:
    todo = [top]
    while todo:
        folder = todo.pop()
        if os.path.basename(folder.path).startswith("models--") and "snapshots" in folder.folders:
            _cached(folder, root, found)
            continue
        if not folder.files and not folder.broken:
            todo += folder.folders.values()
            continue
        if ALL_BELOW & folder.files.keys() or _is_one(folder):
            files, inner, broken = _below(folder)
            todo += inner
            _keep(Candidate(folder.path, folder.path, root, files), broken, found)
        else:
            _separate(folder, root, found)
            todo += folder.folders.values()


def _is_one(folder: _Folder) -> bool:
    """Whether the weights that lie in a folder are one checkpoint."""
    names = genome.weights((*folder.files, *folder.broken))
    if not names:
        return False
    sets = {match.group(1, 2, 3) for name in names if (match := _SHARD.fullmatch(name))}
    if sets:
        return len(sets) == 1 and all(_SHARD.fullmatch(name) for name in names)
    if all(name.lower().endswith(_OWN) for name in names):
        return False
    return bool(ONE & folder.files.keys()) or all(map(genome.says_nothing, names))


def _below(folder: _Folder) -> tuple[dict[str, Stamp], list[_Folder], dict[str, str]]:
    """The files of a checkpoint, as `genome.read` takes them; the folders of steps inside, each a
    checkpoint of its own; and weight files that cannot be had."""
    files: dict[str, Stamp] = {}
    broken: dict[str, str] = {}
    inner = []
    todo = [("", folder)]
    while todo:
        prefix, one = todo.pop()
        files.update((prefix + name, stamp) for name, stamp in one.files.items())
        broken.update((prefix + name, reason) for name, reason in one.broken.items())
        for name, deeper in one.folders.items():
            if genome.is_step(name):
                inner.append(deeper)
            else:
                todo.append((f"{prefix}{name}/", deeper))
    return files, inner, broken


def _separate(folder: _Folder, root: str, found: Walked) -> None:
    """Each weight file of a folder as a checkpoint of its own."""
    for name, reason in folder.broken.items():
        found.set_aside.append((f"{_ended(folder.path)}{name}", reason))
    names = [
        name
        for name in folder.files
        if genome.is_weights(name)
        and (name.lower().endswith(_BELIEVED) or genome.says_nothing(name))
    ]
    for name in sorted(names):
        place = f"{_ended(folder.path)}{name}"
        if _SHARD.fullmatch(name):
            found.set_aside.append(
                (place, "is one of several shards, among other checkpoints. Give it a folder.")
            )
            continue
        readme = folder.path if "README.md" in folder.files else None
        files = {name: folder.files[name]}
        one = Candidate(place, folder.path, root, files, beside=readme, alone=len(names) == 1)
        found.candidates.append(one)


def _cached(folder: _Folder, root: str, found: Walked) -> None:
    """A repository of the Hugging Face cache: each snapshot is a checkpoint at a revision, made of
    links to blobs, of which those in LFS are named by their SHA-256
    (huggingface.co/docs/huggingface_hub/guides/manage-cache)."""
    repository = os.path.basename(folder.path).removeprefix("models--").replace("--", "/")
    blobs = os.path.realpath(f"{folder.path}/blobs")
    for commit, snapshot in folder.folders["snapshots"].folders.items():
        files, _, broken = _below(snapshot)
        one = Candidate(snapshot.path, snapshot.path, root, files)
        if _COMMIT.fullmatch(commit):
            one.hub = f"hf:{repository}@{commit}"
        one.digests = dict(_blobs(snapshot, blobs))
        _keep(one, broken, found)
    try:
        with open(f"{folder.path}/refs/main", encoding="ascii") as file:
            commit = file.read(100).strip()
        if _COMMIT.fullmatch(commit):
            found.main[repository] = commit
    except (OSError, UnicodeError):
        pass


def _blobs(snapshot: _Folder, blobs: str) -> Iterator[tuple[str, str]]:
    """The files of a snapshot whose blob is named by a SHA-256."""
    todo = [("", snapshot)]
    while todo:
        prefix, one = todo.pop()
        for name, target in one.links.items():
            holder, blob = os.path.split(target)
            if holder == blobs and _BLOB.fullmatch(blob):
                yield prefix + name, blob
        todo += ((f"{prefix}{name}/", deeper) for name, deeper in one.folders.items())


def _keep(one: Candidate, broken: Mapping[str, str], found: Walked) -> None:
    """Keep a candidate that has weights, unless some of them cannot be had."""
    genomic = genome.weights((*one.files, *broken))
    missing = next((name for name in sorted(broken) if name in genomic), None)
    if missing is not None:
        found.set_aside.append((f"{_ended(one.folder)}{missing}", broken[missing]))
    elif genomic:
        found.candidates.append(one)


def storable(one: Candidate) -> bool:
    """Whether both databases can keep the names of a candidate."""
    try:
        "\n".join((one.place, *one.files)).encode()
    except UnicodeEncodeError:
        return False
    return True
