"""The recorder that all adapters share: what a training run saved becomes one small record, durable
in the spool before the hook returns; a process beside the run does the rest (`background`).

It never raises into a training loop, never installs a signal handler, warns once of each kind of
trouble, and counts what was lost. Only the main process of a distributed run records."""

from __future__ import annotations

import functools
import logging
import math
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lineage import arrivals, database, energy, spool  # now, and not in the first hook
from lineage.energy import Meter
from lineage.integrations.background import Background
from lineage.organism import Organism, Parent, PowerCost, known_direction, never_fitness
from lineage.references import looks_like_path, place_uri, this_user

log = logging.getLogger("lineage")
F = TypeVar("F", bound=Callable[..., Any])

MOST_UNWRITTEN = 1_000
"""Records kept in memory while the spool cannot be written; of more the oldest are lost."""

RANKS = (
    ("RANK", "WORLD_SIZE"),  # torchrun, accelerate
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)
"""Variables that tell a process its rank, and of how many."""


def guarded(hook: F) -> F:
    """A method of something with a `recorder` that never raises: what fails is said once, and
    training goes on. Its time is counted in `recorder.seconds`."""

    @functools.wraps(hook)
    def safe(self: Any, *args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return hook(self, *args, **kwargs)
        except Exception as error:
            self.recorder.failed(error)
            return None
        finally:
            self.recorder.seconds += time.perf_counter() - begin

    return safe  # type: ignore[return-value]


def is_main_process() -> bool:
    """Whether this is the process of a distributed run that records: rank 0."""
    distributed = sys.modules.get("torch.distributed")  # not imported: not used
    with suppress(Exception):
        if distributed and distributed.is_available() and distributed.is_initialized():
            return bool(distributed.get_rank() == 0)
    for rank, size in RANKS:
        if os.environ.get(size, "1") != "1" and rank in os.environ:
            return os.environ[rank] == "0"
    return True


def commit_of(folder: str) -> str | None:
    """The git commit that is checked out in a folder; None outside of a repository."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5
        )
        return done.stdout.strip() or None
    return None


def plain(value: Any, depth: int = 8) -> Any:
    """Any value as JSON can hold it: what is no number, text, list or mapping as its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth and isinstance(value, Mapping):
        return {str(key): plain(held, depth - 1) for key, held in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [plain(held, depth - 1) for held in value]
    return str(value)


def parent(ref: Any, relation: str | None = None, evidence: str = "declared") -> dict[str, Any]:
    """A parent as a record names it. A relative path is made absolute: it is looked up elsewhere.
    Takes what `register(parents=...)` takes."""
    if isinstance(ref, Parent):
        return parent(ref.ref, ref.relation or relation, ref.evidence)
    found: dict[str, Any] = {"evidence": evidence}
    if relation is not None:
        found["relation"] = relation
    if isinstance(ref, Organism):
        found["ref"] = ref.digest or ref.ref
    elif isinstance(ref, os.PathLike) or looks_like_path(str(ref)):
        found["place"] = place_uri(ref)
    else:
        found["ref"] = str(ref)
        if not str(ref).startswith("hf:") and os.path.exists(str(ref)):
            found["place"] = place_uri(str(ref))  # where nothing has that name
    return found


def data_set(found: Any) -> tuple[str | None, str | None, int | None, str]:
    """Of a data set: its name, its name with its fingerprint, and its size, where it tells them
    (those of the `datasets` library do), and its split, which may be empty."""
    info = getattr(found, "info", None)
    given = getattr(info, "dataset_name", None) or getattr(info, "builder_name", None)
    fingerprint, size = getattr(found, "_fingerprint", None), None
    with suppress(Exception):  # an iterable has no length
        size = len(found)
    known = f"{given}-{fingerprint[:16]}" if given and isinstance(fingerprint, str) else None
    return given, known, size or None, str(getattr(found, "split", None) or "")


_EVALUATION = re.compile(r"^(eval|val|valid|validation)[_/]", re.IGNORECASE)


def scores(
    metrics: Mapping[str, Any],
    task: str,
    *,
    split: str = "",
    n: int | None = None,
    directions: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Fitness out of what a trainer measured: every number but runtimes, throughputs, epochs and
    gradient norms. `eval_loss` is the metric `loss`. `directions` (`higher` or `lower`, by metric)
    counts before common knowledge; where both are silent the direction is unknown. They are of now:
    several records may tell of one evaluation."""
    found = []
    at = time.time_ns() // 1000
    for key, value in metrics.items():
        number = _number(value)
        if number is None or never_fitness(key):
            continue
        metric = _EVALUATION.sub("", key).replace("/", "_")
        said = (directions or {}).get(key) or known_direction(metric)
        one = {"task": task, "metric": metric, "split": split or None, "value": number,
               "direction": said, "n": n, "at": at}  # fmt: skip
        found.append({key: held for key, held in one.items() if held is not None})
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):  # text, a list, a tensor of several
        return None
    return number if math.isfinite(number) else None


@dataclass
class _Saved:
    """A checkpoint of this run, or one that lay there before: the UUID of its record, if any."""

    path: str
    record: str | None


class Recorder:
    """One training run. `db` names the registry as `lineage.open` takes it; `name` is what its
    checkpoints are versions of; `parents` is what the run started from, `base` what its checkpoints
    need to run (of adapters), each made by `parent`. `meter` is by default the most trusted one of
    this machine."""

    def __init__(self, db: Any = None, *, meter: Meter | None = None,
                 allow_network_fs: bool = False) -> None:  # fmt: skip
        self.db = db
        self.meter = meter
        self.allow_network_fs = allow_network_fs
        self.run = uuid.uuid4().hex[:12]
        self.name: str | None = None
        self.parents: list[dict[str, Any]] = []
        self.base: list[dict[str, Any]] = []
        self.tags: dict[str, str] = {}
        self.configuration: dict[str, Any] = {}
        self.seconds = 0.0
        self.lost = 0
        """Records that could not be kept anywhere, and hooks that failed."""
        self._said: set[str] = set()
        self._living: dict[str, _Saved] = {}
        self._last: tuple[int | None, list[dict[str, Any]]] | None = None
        self._last_record: str | None = None
        self._unwritten: list[dict[str, Any]] = []
        self._spool: Path | None = None
        self._address: database.Address | None = None
        self._background: Background | None = None
        self._metering = False

    # ---- a run, as the adapters tell it

    def begin(self) -> None:
        """The run starts: its meter too, and what earlier runs left in the spool comes in."""
        commit = commit_of(os.getcwd())
        if commit:
            self.tags["commit"] = commit
        if self.meter is None:
            self.meter = energy.meter("training")
        self._start_meter()
        self._start_background()

    def found(self, path: str) -> None:
        """A checkpoint of an earlier run lies where this one saves, and may be rotated away."""
        path = os.path.abspath(path)
        self._living.setdefault(path, _Saved(path, None))

    def checkpoint(
        self,
        path: str | os.PathLike[str],
        *,
        step: int | None = None,
        fitness: Iterable[Mapping[str, Any]] = (),
        parents: list[dict[str, Any]] | None = None,
        tags: Mapping[str, Any] | None = None,
        best: bool = False,
    ) -> None:
        """A checkpoint was saved, whole. When this returns, its record is durable."""
        place = os.path.abspath(os.fspath(path))
        if parents is None:
            parents = self._parents(step)
        tagged = {**self.tags, **{key: _told(value) for key, value in (tags or {}).items()}}
        one: dict[str, Any] = {
            "path": place,
            "stamp": arrivals.stamp(place),
            "name": self.name,
            "run": self.run,
            "step": step,
            "parents": parents,
            "fitness": [dict(score) for score in fitness],
            "power": self._interval(),
            "tags": {key: value for key, value in tagged.items() if value},
            "configuration": self.configuration,
            "best": best,
        }
        told = {key: held for key, held in one.items() if held or key == "step"}  # a step may be 0
        record = self._record({"checkpoint": told})
        self._last, self._last_record = (step, parents), record["uuid"]
        self._living.pop(place, None)
        record["gone"] = self._gone()
        self._living[place] = _Saved(place, record["uuid"])
        self._keep(record)

    def end(self) -> None:
        """The run is over. What was used since its last checkpoint belongs to that one."""
        power, gone = self._interval(last=True), self._gone()
        if self._last_record and (power or gone):
            self._keep(self._record({"of": self._last_record, "power": power, "gone": gone}))
        elif self._unwritten:
            self._write()
        self.lost += len(self._unwritten)
        if self.lost:
            log.warning("lineage: %d records of this run were lost.", self.lost)
        if self._background is not None:
            self._background.close()
            self._background = None

    def failed(self, error: Exception) -> None:
        """Something went wrong in a hook: said once, counted, and training goes on."""
        self.lost += 1
        self.say("failed", f"a checkpoint could not be recorded: {error!r}. Training goes on")

    def say(self, kind: str, sentence: str) -> None:
        """Warn, once of each kind."""
        if kind not in self._said:
            self._said.add(kind)
            log.warning("lineage: %s.", sentence.rstrip("."))

    # ---- what a record holds

    def _record(self, more: dict[str, Any]) -> dict[str, Any]:
        return {
            "lineage": 1,
            "uuid": str(uuid.uuid4()),
            "at": time.time_ns() // 1000,
            "by": {
                "user": this_user(),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "command": os.path.basename(sys.argv[0] or "") or "python",
            },
            **more,
        }

    def _parents(self, step: int | None) -> list[dict[str, Any]]:
        """The checkpoint before this one, else what the run started from; and what it needs."""
        if self._last is None:
            return [*self.parents, *self.base]
        if step is not None and self._last[0] == step:  # the same step in another place
            return self._last[1]
        before = next(one for one in self._living.values() if one.record == self._last_record)
        return [
            {"record": before.record, "place": before.path, "relation": "continue"},
            *self.base,
        ]

    def _gone(self) -> list[dict[str, Any]]:
        """The checkpoints of this run that lie there no more: rotation took them."""
        missing = [one for one in self._living.values() if not os.path.exists(one.path)]
        for one in missing:
            if one.record != self._last_record:  # the next one still descends from it
                del self._living[one.path]
        return [{"place": one.path, "record": one.record} for one in missing]

    def _start_meter(self) -> None:
        self._metering = False
        if self.meter is not None:
            try:
                self.meter.start()
                self._metering = True
            except Exception as error:
                self.say("meter", f"the meter cannot be read: {error!r}. Joules stay unknown")

    def _interval(self, last: bool = False) -> list[dict[str, Any]]:
        """What was used since the last checkpoint, and the start of the next interval."""
        if self.meter is None or not self._metering:
            return []
        cost = None
        try:
            cost = self.meter.stop()
        except Exception as error:
            self.say("meter", f"the meter cannot be read: {error!r}. Joules stay unknown")
        if last:
            self._metering = False
        else:
            self._start_meter()
        if cost is None:
            return []
        held = {key: getattr(cost, key) for key in PowerCost.__dataclass_fields__}
        held["uuid"] = held["uuid"] or str(uuid.uuid4())
        held["at"] = held["at"].isoformat() if held["at"] else None
        return [{key: value for key, value in held.items() if value is not None}]

    # ---- where it goes

    def _keep(self, record: dict[str, Any]) -> None:
        """Write a record to the spool; in memory, for another attempt, where that fails."""
        self._unwritten.append(record)
        self._write()
        if len(self._unwritten) > MOST_UNWRITTEN:
            del self._unwritten[0]
            self.lost += 1

    def _write(self) -> None:
        try:
            folder = self._folder()
            while self._unwritten:
                spool.write(folder, self._unwritten[0])
                del self._unwritten[0]
        except Exception as error:
            self.say(
                "spool",
                f"the spool cannot be written: {error}. It is tried again with the next "
                "checkpoint, and training goes on",
            )
        else:
            self._start_background()
            if self._background is not None:
                self._background.wake()

    def _folder(self) -> Path:
        if self._spool is None:
            address = database.locate(self.db)
            folder = spool.folder_of(address)
            spool.prepare(folder, address)
            self._spool, self._address = folder, address
        return self._spool

    def _start_background(self) -> None:
        """The process that brings the spool in. Without it the records wait."""
        if self._background is not None:
            return
        try:
            folder = self._folder()
            assert self._address is not None
            file = self._address.file
            self._background = Background(
                self._address.url.render_as_string(hide_password=False),
                folder,
                create=file is None or not file.exists(),
                allow_network_fs=self.allow_network_fs,
                tell=lambda said: self.say("beside", said),
            )
        except Exception as error:
            self.say(
                "beside",
                f"checkpoints wait in the spool, and nothing brings them in: {error}. "
                "`lineage sync` does",
            )


def _told(value: Any) -> str | None:
    """A value as a tag holds it; None where there is nothing to tell."""
    if value is None:
        return None
    return f"{value:.6g}" if isinstance(value, float) else str(value)
