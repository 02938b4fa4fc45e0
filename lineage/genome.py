"""Read a checkpoint on disk as data: which of its files are the genome, their digests, and the
facts in their headers. Nothing is loaded or unpickled, and no length in a file is believed."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import posixpath
import re
import reprlib
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeGuard

from lineage import remote
from lineage.errors import GenomeError, InvalidValue
from lineage.organism import File, text

Progress = Callable[[int], object]

MAX_HEADER = 100_000_000
"""Longest safetensors header in bytes, the limit of the safetensors library itself."""
MAX_CONFIG = 10_000_000
"""Longest config.json in bytes that is looked into."""
_Content = bytes | bytearray
_SHORT = 100_000
"""Bytes of a config.json up to which it is remembered."""
_BLOCK = 1 << 20
_WORTH_A_THREAD = 1 << 20
"""Bytes of the second largest file from which on threads read faster than one after the other."""

# Where the same weights lie in several formats, the first of these that is there is the genome.
# A second copy is what authors put beside the first: `consolidated*` (the layout of their own
# code) and `*.fp16.*` (the variants of diffusers).
_SECOND = r"(?:consolidated.*|.*[.](?:fp16|bf16|fp32|non_ema)(?:-\d+-of-\d+)?)[.]"
_FORMATS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"(?!{_SECOND}).*[.]safetensors",
        r".*[.]safetensors",
        r".*[.]gguf",
        rf"(?!{_SECOND}).*[.]bin",
        r".*[.]bin",
        r".*[.]pth?",
        r".*[.]ckpt",
        r".*[.]distcp",  # torch.distributed.checkpoint, what FSDP writes
        r".*[.]keras",
        r".*[.]h5",
        r".*[.]data-\d+-of-\d+",  # TensorFlow: the index beside it holds names, no weights
        r".*[.]msgpack",
        r".*[.]onnx(?:[._]data(?:[._-]?\d+)?)?",
        r".*[.]npz",
    )
)
_LOOKED_FOR = (
    "*.safetensors, *.gguf, *.bin, *.pt, *.pth, *.ckpt, *.distcp, *.keras, *.h5, "
    "*.data-00000-of-00001, *.msgpack, *.onnx, *.npz"
)
# What a trainer needs to go on, and what it only tells of itself; neither is ever genome, and a
# tokenizer is none, whatever they end in.
_RESUMING = (
    r"(?:optim|optimizer|scheduler|lr_scheduler|scaler|grad_scaler|rng_state|rng|random_states|"
    r"sampler|dl_state_dict|custom_checkpoint|training_state|recipe_state)(?:[._-].*)?|"
    r".*_optim_states[.]pt"
)
_RESUMED = re.compile(_RESUMING, re.IGNORECASE | re.DOTALL)
_STATE = re.compile(
    rf"{_RESUMING}|(?:training_args|train_args|trainer_state)(?:[._-].*)?|tokenizer[.]bin",
    re.IGNORECASE | re.DOTALL,
)
_STATE_FOLDER = re.compile(r"(?:optim|optimizer)(?:_\d+)?", re.IGNORECASE)
# Folders that hold another edition of the weights of the folder they are in.
_EDITION = re.compile(
    r"onnx|openvino|coreml|tf|flax|original|gguf|global_step\d+|pytorch_model_fsdp(?:_\d+)?",
    re.IGNORECASE,
)
_NESTED = re.compile(
    r"(?:checkpoint|ckpt|step|epoch|iter)[-_=](?:\d+|last|latest|best|final)", re.IGNORECASE
)
_SHARD = re.compile(r"(.*)[-_](\d{1,9})-of-(\d{1,9})([.][^/]*)?", re.DOTALL)
_STEP = re.compile(
    r"(?:checkpoints?|ckpt|global|steps?|epochs?|iter(?:ation)?s?|last|latest|best|final|"
    r"[-_=.\d])+",
    re.IGNORECASE,
)
_SAYS_NOTHING = re.compile(
    r"(?:pytorch_|adapter_|diffusion_pytorch_|tf_|flax_|rust_)?(?:model|weights)|consolidated|"
    r"checkpoint|ckpt",
    re.IGNORECASE,
)
_DTYPE = re.compile(r"BOOL|[A-Z]{1,4}([1-9]\d{0,2})(?:_[A-Z0-9]{1,16})?")


class Tensor(NamedTuple):
    """A tensor in a file: its data type (the file's own spelling), shape, and where its data begins
    and ends, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Watcher(Protocol):
    """Sees the bytes of a file while they are hashed."""

    def feed(self, block: memoryview) -> object:
        """The next bytes, in order; valid during the call alone."""
        ...


Watch = Callable[[BinaryIO, str, int, Sequence[Tensor] | None], Watcher | None]
"""Looks into an open file, given its path in the checkpoint, its size in bytes, and its tensors
where it is a safetensors file of the genome; whoever is returned sees its bytes."""


@dataclass(frozen=True, slots=True)
class Genome:
    """A checkpoint as it lies on disk. `digest` is 64 hex digits; `files` are all its files,
    sorted by path; `bytes` is the size of the genome, in bytes; `parameters` counts elements of
    tensors and `precision` is the data type that most of them have (`BF16`), both only where the
    whole genome is safetensors; `architecture` is from config.json, which is the `configuration`.
    What is unknown is None."""

    path: str
    digest: str
    files: tuple[File, ...]
    bytes: int
    parameters: int | None
    precision: str | None
    architecture: str | None
    configuration: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one pass over a file found: `elements` by data type, None where its format does not
    say, the files in which an ONNX model keeps its `external` data, and the `content` of a
    config.json."""

    bytes: int
    sha256: str
    modified: int | None
    elements: Mapping[str, int] | None
    external: tuple[str, ...]
    content: _Content | None


class _Open(NamedTuple):
    """An open file: `source` may be read anywhere; its bytes in order come out of `stream`, or are
    `whole` where it is small: to seek in that would be to read it many times."""

    source: BinaryIO
    stream: BinaryIO | None
    whole: bytes | None
    size: int
    modified: int | None


@dataclass(frozen=True, slots=True)
class _How:
    """How files are read: which are the genome, who looks into them, which digests are known."""

    genome: frozenset[str]
    watch: Watch | None
    digests: Mapping[str, str]


def read(
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
) -> Genome:
    """The checkpoint at `path`, a file or a folder, or at a URI that fsspec can read.

    Every file is read once, `workers` files at a time (by default one a core, up to 8), or each as
    a job of `executor`, be it threads, processes, or other machines that see the same paths;
    `progress` is told how many more bytes were hashed, by one thread at a time. Links to files
    are followed, as the Hugging Face cache needs; links to folders inside the folder are not.
    A blob of that cache is named by its SHA-256, and hashed all the same: a name is no proof.
    Left out are hidden files and folders, and folders named as a step, each of which is a
    checkpoint of its own (`checkpoint-500`, `step_100`, `epoch=3`, `checkpoint-best`).

    Raises GenomeError, naming the file: nothing there, no weight file, a shard missing, a header
    that lies, a file that cannot be read or that changes meanwhile."""
    place = _absolute(path)
    folder, sizes, nested = _survey(place)
    if not weights(sizes):
        raise _no_weights(place, nested)
    return assemble(place, folder, sizes, progress=progress, workers=workers, executor=executor)


def assemble(
    place: str,
    folder: str,
    sizes: Mapping[str, int],
    *,
    watch: Watch | None = None,
    digests: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
) -> Genome:
    """The checkpoint at `place`, of these files in `folder` (path within it: bytes), each opened
    once. `watch` may look into each while it is open; what an `executor` reads it does not see.
    Files in `digests` (path: SHA-256 in hex) are taken at their word: of those no more than a
    header is read. Raises GenomeError as `read` does."""
    genome = weights(sizes)
    expect_all_shards(folder, genome)
    how = _How(genome, None if executor else watch, digests or {})
    seen = _hash_all(folder, sizes, how, progress, workers, executor)
    external = {name for one in seen.values() for name in one.external}
    # Only where the path is a single ONNX file, or the data is missing, which is an error.
    if late := dict.fromkeys(external - seen.keys(), 0):
        seen.update(_hash_all(folder, late, _How(frozenset(), None, {}), progress, workers))
    genome |= external
    parameters, precision = _facts([seen[name] for name in genome])
    speaks = place != folder and _SAYS_NOTHING.fullmatch(_stem(place))
    config = "config.json"
    if config not in seen and speaks:
        content: bytes | bytearray | None = _content(os.path.join(folder, config))
    else:
        content = seen[config].content if config in seen else None
    architecture, configuration = _told(content)
    return Genome(
        path=place,
        digest=combined([seen[name].sha256 for name in genome]),
        files=tuple(
            File(n, seen[n].bytes, seen[n].sha256, n in genome, seen[n].modified)
            for n in sorted(seen)
        ),
        bytes=sum(seen[name].bytes for name in genome),
        parameters=parameters,
        precision=precision,
        architecture=architecture,
        configuration=configuration,
    )


def weights(paths: Iterable[str]) -> frozenset[str]:
    """Those of `paths` (relative to the checkpoint, with forward slashes) that are its genome.

    Names alone decide, so that a listing of the Hub gives the same digest as the files. In each
    folder the first format counts that is there: safetensors, gguf, bin, pt and pth, ckpt,
    distcp, keras, h5, TensorFlow data, msgpack, onnx with its data, npz; the rest is carried.
    A folder such as `onnx/` or `original/` is another edition of the folder that it is in."""
    return _weights(tuple(paths))


@lru_cache(maxsize=1024)  # the checkpoints of a run all hold the same names
def _weights(paths: tuple[str, ...]) -> frozenset[str]:
    best: dict[str, tuple[int, list[str]]] = {}
    for path in paths:
        *folders, name = path.split("/")
        rank = _rank(name)
        if rank is None or any(_skipped(part) or _STATE_FOLDER.fullmatch(part) for part in folders):
            continue
        edition = next((i for i, part in enumerate(folders) if _EDITION.fullmatch(part)), None)
        component = "/".join(folders[:edition])
        held = best.get(component)
        if held is None or rank < held[0]:
            best[component] = (rank, [path])
        elif rank == held[0]:
            held[1].append(path)
    return frozenset(path for _, held_paths in best.values() for path in held_paths)


def kind_of(path: str, genome: bool) -> str:
    """What a file of a checkpoint is for: `optimizer` (only needed to resume training: moments,
    schedule, random states, the position in the data), `weights` (the genome, or another edition
    of it), `other` (configuration, tokenizer, logs)."""
    *folders, name = path.split("/")
    if genome:
        return "weights"
    if _RESUMED.fullmatch(name) or any(map(_STATE_FOLDER.fullmatch, folders)):
        return "optimizer"
    return "other" if _rank(name) is None else "weights"


def combined(digests: Iterable[str]) -> str:
    """The digest of a genome whose weight files have these SHA-256 `digests` (hex): the digest
    itself where there is one file, else the SHA-256 of the sorted digests, each on a line of its
    own that ends in a newline. `sha256sum FILES | cut -c1-64 | sort | sha256sum` says the same."""
    lines = sorted(digests)
    if len(lines) == 1:
        return lines[0]
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


def total_bytes(path: str | os.PathLike[str]) -> int:
    """How many bytes `read` will hash: the end of its progress bar. Raises GenomeError."""
    return sum(_survey(_absolute(path))[1].values())


def default_name(path: str | os.PathLike[str]) -> str:
    """A name for the checkpoint at `path`: that of its folder, or its own without the extension
    where it is a file. What names only a step (`checkpoint-500`, `epoch=3`, `final`, digits)
    gets the folders above it, up to one that says more: `sft/checkpoint-500`; a file that says
    nothing (`model.safetensors`) is called like its folder. A snapshot in the Hugging Face cache
    is called like its repository."""
    place = _absolute(path)
    if _rank(os.path.basename(place)) is not None and not os.path.isdir(place):
        folder, stem = os.path.dirname(place), _stem(place)
        place = folder if _SAYS_NOTHING.fullmatch(stem) else os.path.join(folder, stem)
    above, name = os.path.split(place)
    cache, snapshots = os.path.split(above)
    repository = os.path.basename(cache)
    if snapshots == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/")
    while _STEP.fullmatch(name.partition("/")[0]) and os.path.basename(above):
        above, parent = os.path.split(above)
        name = f"{parent}/{name}"
    return name or place


# What is there


def _absolute(path: str | os.PathLike[str]) -> str:
    """`path` made absolute, links left as they are, a URI as it is; or GenomeError where no
    database keeps it."""
    given = os.fspath(path)
    if not given:
        raise GenomeError("the path of the checkpoint is empty. Name a file or a folder.")
    try:
        return text(remote.absolute(given), "the path")
    except InvalidValue as error:
        raise GenomeError(f"{error} Rename the file or folder, in UTF-8.") from None


def _survey(place: str) -> tuple[str, dict[str, int], list[str]]:
    """The folder of the checkpoint at `place`, its files (path within the folder: bytes) and the
    checkpoints that lie inside and are left out."""
    if remote.is_remote(place):
        return _survey_elsewhere(place)
    try:
        status = os.stat(place)
        if stat.S_ISDIR(status.st_mode):
            return place, *_walk(place)
    except FileNotFoundError:
        raise GenomeError(
            f"there is no file or folder {place!r}. Check the spelling, or that its disk is there."
        ) from None
    except OSError as error:
        raise _unreadable(os.path.normpath(error.filename or place), error) from error
    if not stat.S_ISREG(status.st_mode):
        raise GenomeError(f"{place!r} is neither a file nor a folder. Name a checkpoint.")
    folder, name = os.path.split(place)
    return folder, {name: status.st_size}, []


def _survey_elsewhere(place: str) -> tuple[str, dict[str, int], list[str]]:
    """What `_survey` finds, behind a URI."""
    above, _, name = place.rpartition("/")
    if _rank(name) is not None:
        with remote.opened(place) as one:
            return above, {name: one.size}, []
    sizes: dict[str, int] = {}
    nested: set[str] = set()
    for path, (size, _) in remote.listing(place).items():
        *folders, name = path.split("/")
        skipped = next((i for i, folder in enumerate(folders, 1) if _skipped(folder)), None)
        if skipped is None and not name.startswith("."):
            sizes[_storable(place, path)] = size
        elif skipped is not None and is_step(folders[skipped - 1]):
            nested.add("/".join(folders[:skipped]))
    return place, sizes, sorted(nested)


def _walk(root: str) -> tuple[dict[str, int], list[str]]:
    sizes: dict[str, int] = {}
    nested: list[str] = []
    folders = [""]
    while folders:
        inside = folders.pop()
        with os.scandir(os.path.join(root, inside)) as entries:
            for entry in entries:
                relative = f"{inside}{entry.name}"
                if not entry.is_dir(follow_symlinks=False):
                    size = _size(entry)
                    if size is not None:
                        sizes[_storable(root, relative)] = size
                elif not _skipped(entry.name):
                    folders.append(relative + "/")
                elif _NESTED.fullmatch(entry.name):
                    nested.append(relative)
    return sizes, sorted(nested)


def _size(entry: os.DirEntry[str]) -> int | None:
    """The size of a file, links followed; None for what is no file (a pipe, a dead link, a link
    to a folder). With the name of a weight file that is an error: the weights are missing."""
    if entry.name.startswith("."):
        return None
    reason = "is neither a file nor a folder"
    try:
        status = entry.stat()
        if stat.S_ISREG(status.st_mode):
            return status.st_size
        if stat.S_ISDIR(status.st_mode):
            return None
    except OSError as error:
        reason = f"leads nowhere: {error.strerror}"
    if _rank(entry.name) is None:
        return None
    raise GenomeError(
        f"{entry.path!r} is named like a weight file and {reason}. Fetch the file again, "
        "or remove what stands in its place."
    )


def _storable(root: str, relative: str) -> str:
    try:
        return text(relative, "the file name")
    except InvalidValue as error:
        raise GenomeError(f"{error} It is in {root!r}: rename it, in UTF-8.") from None


def is_weights(name: str) -> bool:
    """Whether a file is called like one with weights."""
    return _rank(name) is not None


def says_nothing(name: str) -> bool:
    """Whether a file is called what every checkpoint's is, like `model.safetensors`."""
    return _SAYS_NOTHING.fullmatch(_stem(name)) is not None


def is_step(folder: str) -> bool:
    """Whether a folder is called like a step of a run: a checkpoint of its own."""
    return _NESTED.fullmatch(folder) is not None


def _skipped(folder: str) -> bool:
    return folder.startswith(".") or is_step(folder)


@lru_cache(maxsize=4096)
def _rank(name: str) -> int | None:
    """The place of a file's format in the order of preference, None for what is no weights."""
    if name.startswith(".") or _STATE.fullmatch(name):
        return None
    return next((i for i, pattern in enumerate(_FORMATS) if pattern.fullmatch(name)), None)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _no_weights(place: str, nested: list[str]) -> GenomeError:
    if not remote.is_remote(place) and not os.path.isdir(place):
        return GenomeError(
            f"{place!r} is not a weight file. Weight files are {_LOOKED_FOR}, and not the state "
            "of an optimizer or trainer."
        )
    message = f"{place!r} holds no weight file. Looked for {_LOOKED_FOR}"
    if nested:
        some = ", ".join(repr(name) for name in nested[:3]) + (", ..." if nested[3:] else "")
        return GenomeError(f"{message}. Inside are checkpoints ({some}): register each of them.")
    return GenomeError(f"{message}, here and in the folders inside.")


def expect_all_shards(folder: str, genome: Iterable[str]) -> None:
    """GenomeError where the names say that shards are missing (`-00001-of-00003`): a genome
    without some of its files would pass for another one."""
    sets: dict[tuple[str, int, str], set[int]] = {}
    for path in genome:
        if shard := _SHARD.fullmatch(path):
            stem, number, total, end = shard.groups()
            sets.setdefault((stem, int(total), end or ""), set()).add(int(number))
    for (stem, total, end), numbers in sets.items():
        if len(numbers) < total:
            raise GenomeError(
                f"{os.path.join(folder, stem)!r} is in {total} shards (*-of-*{end}), of which "
                f"{len(numbers)} are here. Fetch the others, and register the folder."
            )


# Bytes


def _hash_all(
    folder: str,
    sizes: Mapping[str, int],
    how: _How,
    progress: Progress | None,
    workers: int | None,
    executor: Executor | None = None,
) -> dict[str, _Seen]:
    """What is in each of the files, the largest begun first so that no core waits at the end."""
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    if executor is not None:
        return _hash_elsewhere(executor, folder, names, how, progress)
    if workers == 1 or len(names) < 2 or sizes[names[1]] < _WORTH_A_THREAD:

        def told(count: int) -> bool:
            if progress is not None:
                progress(count)
            return True

        return {name: _read_file(folder, name, how, told) for name in names}
    lock, stop = threading.Lock(), threading.Event()

    def tell(count: int) -> bool:
        if progress is not None:
            with lock:
                progress(count)
        return not stop.is_set()

    workers = max(1, workers or min(8, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(_read_file, folder, name, how, tell) for name in names]
        try:
            return {name: job.result() for name, job in zip(names, jobs, strict=True)}
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _hash_elsewhere(
    executor: Executor, folder: str, names: Sequence[str], how: _How, progress: Progress | None
) -> dict[str, _Seen]:
    """What is in each of the files, each read by a job that may run in another process."""
    jobs = {executor.submit(_read_file, folder, name, how, _go_on): name for name in names}
    seen: dict[str, _Seen] = {}
    try:
        for job in as_completed(jobs):
            seen[jobs[job]] = one = job.result()
            if progress is not None:
                progress(one.bytes)
    finally:
        for job in jobs:
            job.cancel()
    return seen


def _go_on(_: int) -> bool:
    """Nobody waits for the progress of a job elsewhere."""
    return True


def _read_file(folder: str, name: str, how: _How, tell: Callable[[int], bool]) -> _Seen:
    full = f"{folder}/{name}" if folder != "/" else f"/{name}"
    if remote.is_remote(folder):
        return _read_elsewhere(full, folder, name, how, tell)
    try:
        # A pipe that took the place of a file must not keep us waiting.
        descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise GenomeError(f"{full!r} is not a file. Put the file itself there.")
            seen = _see(_opened(descriptor, before), folder, name, how, tell)
        finally:
            os.close(descriptor)
        after = os.stat(full)
    except OSError as error:
        raise _unreadable(full, error) from error
    if seen.bytes != before.st_size or _stamp(before) != _stamp(after):
        raise _changed(full)
    return seen


def _changed(full: str) -> GenomeError:
    return GenomeError(
        f"{full!r} changed while it was read. Register it when nothing writes to it any more."
    )


def _opened(descriptor: int, status: os.stat_result) -> _Open:
    size, modified = status.st_size, status.st_mtime_ns
    if size < _BLOCK:
        whole = os.read(descriptor, size + 1)
        return _Open(io.BytesIO(whole), None, whole, size, modified)
    source = os.fdopen(descriptor, "rb", closefd=False)
    return _Open(source, source, None, size, modified)


def _read_elsewhere(
    full: str, folder: str, name: str, how: _How, tell: Callable[[int], bool]
) -> _Seen:
    """What is in the file behind a URI."""
    with remote.opened(full) as one:
        if one.size < _BLOCK:
            whole = one.content()
            open_ = _Open(io.BytesIO(whole), None, whole, one.size, one.modified)
            seen = _see(open_, folder, name, how, tell)
        else:
            with one.look() as source, one.stream() as stream:
                open_ = _Open(source, stream, None, one.size, one.modified)
                seen = _see(open_, folder, name, how, tell)
        if seen.bytes != one.size or one.changed():
            raise _changed(full)
    return seen


def _see(
    open_: _Open, folder: str, name: str, how: _How, tell: Callable[[int], bool]
) -> _Seen:
    """What is in an open file."""
    source, stream, whole, size, modified = open_
    sight = _look(source, size, folder, name) if name in how.genome else _NOTHING
    watcher = how.watch(source, name, size, sight.tensors) if how.watch else None
    feeds: list[Callable[[memoryview], object]] = [] if watcher is None else [watcher.feed]
    kept: bytes | bytearray | None = None
    if name == "config.json" and size <= MAX_CONFIG:
        kept = whole
        if whole is None:
            kept = bytearray()
            feeds.append(kept.extend)
    done, digest = size, how.digests.get(name)
    if digest is None and stream is not None:
        stream.seek(0)
        done, digest = _sha256(stream, size, tell, feeds)
    elif digest is None and whole is not None:
        done, digest = len(whole), hashlib.sha256(whole).hexdigest()
        for feed in feeds:
            feed(memoryview(whole))
        tell(done)
    assert digest is not None
    return _Seen(done, digest, modified, _elements(sight.tensors), sight.external, kept)


def _sha256(
    file: Any,
    size: int,
    tell: Callable[[int], bool],
    feeds: Sequence[Callable[[memoryview], object]],
) -> tuple[int, str]:
    """Bytes read and their digest. Ends early once the file is longer than `size`, or when told."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(min(_BLOCK, size + 1)))
    done = 0
    while done <= size and (count := file.readinto(block)):
        read = block[:count]
        digest.update(read)
        for feed in feeds:
            feed(read)
        done += count
        if not tell(count):
            break
    return done, digest.hexdigest()


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _unreadable(full: str, error: OSError) -> GenomeError:
    return GenomeError(
        f"{full!r} cannot be read: {error.strerror or error}. Check its permissions and its disk."
    )


# Headers


class _Sight(NamedTuple):
    """What a header tells: tensors where the format says which there are, and the files in which an
    ONNX model keeps its data."""

    tensors: Sequence[Tensor] | None
    external: tuple[str, ...]


_NOTHING = _Sight(None, ())


def _look(file: BinaryIO, size: int, folder: str, name: str) -> _Sight:
    full = os.path.join(folder, name)
    if size == 0:
        raise GenomeError(f"{full!r} is empty: no weights were saved. Save or fetch it again.")
    if file.read(40).startswith(b"version https://git-lfs.github.com/spec/"):
        raise GenomeError(
            f"{full!r} is a pointer to Git LFS, not the weights. Run `git lfs pull` there first."
        )
    file.seek(0)
    if name.lower().endswith(".safetensors"):
        return _Sight(_tensors(file, size, full), ())
    if name.lower().endswith(".onnx"):
        inside = posixpath.dirname(name)
        locations = sorted(_locations(file, size, full))
        return _Sight(None, tuple(_within(folder, inside, place, full) for place in locations))
    return _NOTHING


def _elements(tensors: Sequence[Tensor] | None) -> Mapping[str, int] | None:
    """Elements by data type."""
    if tensors is None:
        return None
    elements: Counter[str] = Counter()
    for tensor in tensors:
        elements[tensor.dtype] += math.prod(tensor.shape)
    return elements


def _facts(genome: list[_Seen]) -> tuple[int | None, str | None]:
    """Parameters and precision; a tie of data types goes to the last in the alphabet."""
    total: Counter[str] = Counter()
    for one in genome:
        if one.elements is None:
            return None, None
        total.update(one.elements)
    most = max(total, key=lambda dtype: (total[dtype], dtype), default=None)
    return total.total(), most if most is not None and total[most] else None


def _content(path: str) -> bytes | None:
    """A config.json that lies beside a weight file; None where it cannot be read."""
    if remote.is_remote(path):
        try:
            with remote.opened(path) as one:
                return one.content() if one.size <= MAX_CONFIG else None
        except GenomeError:
            return None
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            content = file.read(MAX_CONFIG + 1)
    except OSError:
        return None
    return content if len(content) <= MAX_CONFIG else None


def _told(content: bytes | bytearray | None) -> tuple[str | None, Mapping[str, Any] | None]:
    """The architecture that a config.json tells, and its object. The checkpoints of a run all have
    the same: it is parsed once."""
    if content is None or len(content) > _SHORT:
        return _parsed(content)
    return _remembered(bytes(content))


def _parsed(content: bytes | bytearray | None) -> tuple[str | None, Mapping[str, Any] | None]:
    try:
        config = json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(config, dict):
        return None, None
    try:
        json.dumps(config, allow_nan=False)
    except (ValueError, RecursionError):  # it holds what JSON has not
        return _architecture(config), None
    return _architecture(config), config


_remembered = lru_cache(maxsize=64)(_parsed)


def _architecture(config: Mapping[str, Any]) -> str | None:
    """`architectures[0]`, else `model_type`; None where it cannot be told."""
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    for value in (first, config.get("model_type")):
        try:
            return text(value, "architecture")
        except InvalidValue:
            continue
    return None


def _lie(full: str, what: str) -> GenomeError:
    return GenomeError(f"{full!r} is not what it claims to be: {what}. Save or fetch it again.")


def _lie_of(full: str, tensor: str, what: str) -> GenomeError:
    return _lie(full, f"tensor {reprlib.repr(tensor)} {what}")


def _tensors(file: BinaryIO, size: int, full: str) -> list[Tensor]:
    """The tensors of a safetensors file in the order of their data, from its header: 8 bytes of
    length, little endian, then JSON. They must fill the rest of the file, without hole or overlap:
    https://huggingface.co/docs/safetensors (Format)."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise _lie(full, f"its header would be {length:,} bytes long, in a file of {size:,}")
    if length > MAX_HEADER:
        raise _lie(full, f"its header of {length:,} bytes is longer than {MAX_HEADER:,}")
    try:
        header = json.loads(file.read(length).decode("utf-8"))
    except (ValueError, RecursionError):
        raise _lie(full, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _lie(full, "its header is not a JSON object")
    header.pop("__metadata__", None)
    start = 8 + length
    found = [_tensor(name, tensor, start, full) for name, tensor in header.items()]
    found.sort(key=lambda tensor: (tensor.begin, tensor.end))
    filled = start
    for tensor in found:
        if tensor.begin != filled:
            at = min(tensor.begin, filled) - start
            raise _lie(full, f"its tensors leave a hole or overlap at byte {at:,}")
        filled = tensor.end
    if filled != size:
        raise _lie(
            full, f"its tensors need {filled - start:,} bytes, and it has {size - start:,}"
        )
    return found


def _tensor(name: str, tensor: object, start: int, full: str) -> Tensor:
    """One tensor of a header, whose data begins at byte `start`."""
    if not isinstance(tensor, dict):
        raise _lie_of(full, name, "is not described")
    dtype, shape, offsets = tensor.get("dtype"), tensor.get("shape"), tensor.get("data_offsets")
    bits = _bits(dtype) if isinstance(dtype, str) else None
    if bits is None or not isinstance(dtype, str):
        raise _lie_of(full, name, f"has the unknown data type {reprlib.repr(dtype)}")
    # No library has more than 64 axes, and a product of millions of numbers would take forever.
    if not _counts(shape) or len(shape) > 64:
        raise _lie_of(full, name, f"has the impossible shape {reprlib.repr(shape)}")
    if not _counts(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] < 2**63:
        raise _lie_of(full, name, f"has the impossible offsets {reprlib.repr(offsets)}")
    begin, end = offsets
    if math.prod(shape) * bits != 8 * (end - begin):
        raise _lie_of(full, name, f"of {dtype} {reprlib.repr(shape)} does not fit its bytes")
    return Tensor(name, dtype, tuple(shape), start + begin, start + end)


@lru_cache(maxsize=256)
def _bits(dtype: str) -> int | None:
    """Bits of a value, from the name of its type; None where it is the name of none."""
    known = _DTYPE.fullmatch(dtype)
    return int(known[1] or 8) if known else None


def _counts(value: object) -> TypeGuard[list[int]]:
    """Whether this is a list of whole numbers, none negative (JSON's true is no number)."""
    return isinstance(value, list) and set(map(type, value)) <= {int} and min(value, default=0) >= 0


# ONNX: a walk over the protocol buffer, to the names of the files in which tensors are kept.
# Message, field number: message inside (github.com/onnx/onnx, onnx/onnx.proto3).
_ONNX: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1


def _locations(file: BinaryIO, size: int, full: str) -> set[str]:
    """Every `location` of external data in an ONNX model, as written there."""
    found: set[str] = set()
    for begin, end in onnx_tensors(file, size, full):
        found.update(_tensor_location(file, begin, end, full))
    return found


def onnx_tensors(file: BinaryIO, size: int, full: str) -> Iterator[tuple[int, int]]:
    """Where each tensor message of an ONNX model begins and ends, wherever in it."""
    todo = [("model", 0, size)]
    while todo:
        message, begin, end = todo.pop()
        if message == "tensor":
            yield begin, end
            continue
        for number, start, stop, _ in protobuf(file, begin, end, full):
            inner = _ONNX[message].get(number)
            if inner is not None and start < stop:
                todo.append((inner, start, stop))


def _tensor_location(file: BinaryIO, begin: int, end: int, full: str) -> Iterator[str]:
    external, entries = False, []
    for number, start, stop, value in protobuf(file, begin, end, full):
        if number == _DATA_LOCATION:
            external = value == _EXTERNAL
        elif number == _EXTERNAL_DATA:
            entries.append((start, stop))
    for start, stop in entries if external else ():
        pair = {n: (a, b) for n, a, b, _ in protobuf(file, start, stop, full)}
        if 1 in pair and 2 in pair and _bytes(file, *pair[1]) == b"location":
            yield _bytes(file, *pair[2]).decode("utf-8", "replace")


def _bytes(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(min(stop - start, 4096))  # the longest path there is


def protobuf(
    file: BinaryIO, at: int, end: int, full: str
) -> Iterator[tuple[int, int, int, int | None]]:
    """The fields of a protocol buffer message in bytes [at, end) of the file: number, where the
    content begins and ends (nothing for a number), and its value where it is a varint."""
    while at < end:
        file.seek(at)
        key, at = _varint(file, at, full)
        value, start = None, at
        match key & 7:
            case 0:
                value, at = _varint(file, at, full)
                start = at
            case 1:
                at += 8
                start = at
            case 2:
                length, start = _varint(file, at, full)
                at = start + length
            case 5:
                at += 4
                start = at
            case wire:
                raise _lie(full, f"its protocol buffer has the wire type {wire} at byte {at:,}")
        if at > end:
            raise _lie(full, f"a field of its protocol buffer ends at byte {at:,}, past {end:,}")
        yield key >> 3, start, at, value


def _varint(file: BinaryIO, at: int, full: str) -> tuple[int, int]:
    """The number at the file's position `at`, and the position after it."""
    value = 0
    for index in range(10):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << (7 * index)
        if byte[0] < 0x80:
            return value, at + index + 1
    raise _lie(full, f"its protocol buffer has a broken number at byte {at:,}")


def _within(folder: str, inside: str, location: str, full: str) -> str:
    """The path within the checkpoint of external data that an ONNX model in folder `inside`
    names. ONNX wants it relative to the model, and not above it; no linked folder may lead it
    out either (a linked file may: the Hugging Face cache is made of them)."""
    relative = posixpath.join(inside, posixpath.normpath(location))
    try:
        text(location, "location")
        inwards = not posixpath.normpath(location).startswith(("..", "/"))
        if not remote.is_remote(folder):  # which has no links
            real = os.path.realpath(os.path.join(folder, posixpath.dirname(relative)))
            straight = os.path.join(os.path.realpath(folder), posixpath.dirname(relative))
            inwards = inwards and real == os.path.normpath(straight)
    except (InvalidValue, ValueError):
        inwards = False
    if not inwards:
        raise GenomeError(
            f"{full!r} keeps weights in {reprlib.repr(location)}, outside its folder: it is not "
            "read. Export the model again with its data beside it."
        )
    return relative
