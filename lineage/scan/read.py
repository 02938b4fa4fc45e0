"""Reading a checkpoint that a walk found: every file opened once, to be hashed, and looked into
meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import BinaryIO

from lineage import genome, remote
from lineage.errors import GenomeError, LineageError
from lineage.genome import Genome, Tensor, Watcher
from lineage.hub.rows import emissions_uuid
from lineage.organism import PowerCost
from lineage.readers import card, configs
from lineage.readers.gguf import gguf
from lineage.readers.lightning import lightning
from lineage.readers.onnx import onnx
from lineage.readers.said import MOST_BYTES, Said
from lineage.readers.tensors import TensorDigests
from lineage.scan.walk import Candidate, storable

Reader = Callable[[bytes, str], Said]
READERS: dict[str, Reader] = {
    "adapter_config.json": configs.adapter,
    "mergekit_config.yml": configs.mergekit,
    "mergekit_config.yaml": configs.mergekit,
    "trainer_state.json": configs.trainer,
    "model_index.json": configs.diffusers,
    "config.json": configs.transformers,
    card.NAME: card.card,
}
"""Readers of whole files, by name; the surest first, for what several of them know."""
SHORT = 10_000
"""Bytes of a file up to which what it says is remembered."""


@dataclass(slots=True)
class Found:
    """A checkpoint that was read: what it is, what its files say, and the digests of its tensors
    that can prove something, with their bytes."""

    candidate: Candidate
    name: str
    genome: Genome
    said: Said
    tensors: dict[bytes, int] = field(default_factory=dict)

    @property
    def modified(self) -> int:
        """When its weights were modified last, in nanoseconds since 1970."""
        return max(file.modified or 0 for file in self.genome.files if file.genome)


class _Content:
    """Keeps the content of a file."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    def feed(self, block: memoryview) -> None:
        self.blocks.append(bytes(block))

    @property
    def content(self) -> bytes:
        return self.blocks[0] if len(self.blocks) == 1 else b"".join(self.blocks)


class _Looking:
    """Looks into the files of one checkpoint while they are open."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.genome = genome.weights(candidate.files)
        self.contents: dict[str, _Content] = {}
        self.digests: list[TensorDigests] = []
        self.inside = Said()

    def __call__(
        self, file: BinaryIO, name: str, size: int, tensors: Sequence[Tensor] | None
    ) -> Watcher | None:
        if name in READERS:
            if size > MOST_BYTES:
                self.inside.notes.append(f"{name} is longer than {MOST_BYTES:,} bytes: not read.")
                return None
            self.contents[name] = _Content()
            return self.contents[name]
        if name not in self.genome:
            return None
        known = self._tensors(file, name, size) if tensors is None else tensors
        if not known or name in self.candidate.digests:  # taken at its word, and not read through
            return None
        self.digests.append(TensorDigests(file, known))
        return self.digests[-1]

    def _tensors(self, file: BinaryIO, name: str, size: int) -> Sequence[Tensor]:
        """The tensors of a file of another format, and what its header says."""
        ending = os.path.splitext(name)[1].lower()
        said = Said()
        tensors: list[Tensor] = []
        try:
            if ending == ".gguf":
                said, tensors = _gguf(file, size, name)
            elif ending == ".onnx":
                said, tensors = onnx(file, size, name)
            elif ending == ".ckpt":
                said = lightning(file, size, name)
        except ValueError as error:
            self.inside.notes.append(f"{name}: {error}")
        self.inside.add(said)
        return tensors

    def said(self) -> Said:
        """What all files say together."""
        said = Said()
        for name, reader in READERS.items():
            if name in self.contents:
                said.add(_heard(reader, name, self.contents[name].content, self.candidate.place))
        said.add(self.inside)
        return said


def _gguf(file: BinaryIO, size: int, name: str) -> tuple[Said, list[Tensor]]:
    """A header that lies sets the checkpoint aside, as with safetensors: what was cut off on its
    way here would pass for other weights."""
    try:
        return gguf(file, size, name)
    except ValueError as error:
        raise GenomeError(f"{name} is not what it claims to be: {error}. Fetch it again.") from None


def _heard(reader: Reader, name: str, content: bytes, place: str) -> Said:
    """What a file says. All checkpoints of a run have the same card and the same configuration:
    what says the same wherever it lies is read once."""
    if reader is configs.trainer or len(content) > SHORT:
        return _told(reader, name, content, place)
    return _remembered(reader, name, content, "")


def _told(reader: Reader, name: str, content: bytes, place: str) -> Said:
    try:
        return reader(content, place)
    except ValueError as error:
        return Said(notes=[f"{name} was not read: {error}."])


_remembered = lru_cache(maxsize=64)(_told)


def attempt(
    candidate: Candidate, beside: dict[str, Said], workers: int | None = None
) -> Found | tuple[str, str]:
    """What `read` finds, or the place with the reason why it cannot be read."""
    if not storable(candidate):
        return candidate.place, "has a name that is not UTF-8. Rename it."
    try:
        return read(candidate, beside, workers)
    except (LineageError, OSError) as error:
        return candidate.place, str(error)


def attempt_all(candidates: Sequence[Candidate]) -> list[Found | tuple[str, str]]:
    """`attempt` for each: a job that another process, on another machine, can do."""
    beside: dict[str, Said] = {}
    return [attempt(one, beside, workers=1) for one in candidates]


def read(candidate: Candidate, beside: dict[str, Said], workers: int | None = None) -> Found:
    """Read a checkpoint. `beside` keeps what the README of a folder with several checkpoints says,
    so that it is opened once. Raises GenomeError."""
    looking = _Looking(candidate)
    sizes = {name: size for name, (size, _) in candidate.files.items()}
    found = genome.assemble(
        candidate.place, candidate.folder, sizes, watch=looking, digests=candidate.digests,
        workers=workers,
    )  # fmt: skip
    tensors: dict[bytes, int] = {}
    for one in looking.digests:
        tensors.update(one.found)
    said = looking.said()
    if candidate.beside is not None:
        said.add(_beside(candidate, beside))
    if candidate.hub is not None:
        repository = candidate.hub.removeprefix("hf:").partition("@")[0]
        said.power = [_of_repository(repository, cost) for cost in said.power]
    return Found(candidate, genome.default_name(candidate.place), found, said, tensors)


def _of_repository(repository: str, cost: PowerCost) -> PowerCost:
    """What the card in a cached repository tells, known as what the Hub tells of it."""
    if cost.gco2e is None or cost.uuid is not None:
        return cost
    return replace(cost, uuid=emissions_uuid(repository, cost.gco2e))


def _beside(candidate: Candidate, known: dict[str, Said]) -> Said:
    """What the README of a folder says of one of its files: of several, the scores and the carbon
    are nobody's in particular."""
    folder = candidate.beside or ""
    if folder not in known:
        try:
            known[folder] = _heard(card.card, card.NAME, _start_of(folder, card.NAME), folder)
        except GenomeError as error:
            known[folder] = Said(notes=[str(error)])
        except OSError as error:
            known[folder] = Said(notes=[f"{card.NAME} cannot be read: {error.strerror}."])
    said = known[folder]
    if candidate.alone:
        return said
    return Said(claims=said.claims, facts=said.facts, tags=said.tags, kinds=said.kinds)


def _start_of(folder: str, name: str) -> bytes:
    """The first MOST_BYTES of a file."""
    if remote.is_remote(folder):
        with remote.opened(f"{folder}/{name}") as one, one.stream() as stream:
            return stream.read(MOST_BYTES)
    with open(f"{folder}/{name}", "rb") as file:
        return file.read(MOST_BYTES)
