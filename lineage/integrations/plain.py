"""`lineage.track`: for plain training loops, accelerate, notebooks, and everything that has no
adapter of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from lineage.energy import Meter
from lineage.integrations.recorder import (
    Recorder,
    guarded,
    is_main_process,
    parent,
    plain,
    scores,
)
from lineage.organism import RELATIONS, one_of


def track(
    name: str | os.PathLike[str],
    *,
    parents: Any = None,
    relation: str | None = None,
    task: str | None = None,
    db: str | os.PathLike[str] | None = None,
    tags: Mapping[str, Any] | None = None,
    configuration: Mapping[str, Any] | None = None,
    meter: Meter | None = None,
    allow_network_fs: bool = False,
) -> Run:
    """A training run, as a context manager:

        with lineage.track("runs/sft", parents="base", task="gsm8k") as run:
            ...
            run.checkpoint("runs/sft/checkpoint-500", step=500, fitness={"acc": 0.61})

    `name` (of a path the last part) is what its checkpoints are versions of. `parents` is what the
    run started from, by `relation` (`finetune`, unless said); each further checkpoint continues
    the one before. `configuration` are the arguments of the run. `task` is that of scores without
    one: without it they stay apart from those of all other runs. `meter` counts the joules between
    checkpoints: by default the most trusted one that this machine has.

    Never raises once the run has begun; what `checkpoint` returned from is durable. In a
    distributed run only the main process records."""
    if relation is not None:
        one_of(relation, RELATIONS, "relation")
    return Run(
        Recorder(db, meter=meter, allow_network_fs=allow_network_fs),
        PurePath(os.path.abspath(name)).name, parents, relation, task, tags, configuration,
    )  # fmt: skip


class Run:
    """A run that `track` began."""

    def __init__(
        self, recorder: Recorder, name: str, parents: Any, relation: str | None, task: str | None,
        tags: Mapping[str, Any] | None, configuration: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        self.recorder = recorder
        self.task = task
        self.relation = relation
        recorder.name = name
        found = _parents(parents, relation)
        if relation == "adapter":  # every one of its checkpoints needs it
            recorder.base = found
        else:
            recorder.parents = found
        recorder.tags.update({key: str(value) for key, value in (tags or {}).items()})
        if configuration:
            recorder.configuration = plain(configuration)

    def __enter__(self) -> Run:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @guarded
    def checkpoint(
        self,
        path: str | os.PathLike[str],
        *,
        step: int | None = None,
        fitness: Mapping[str, float] | None = None,
        parents: Any = None,
        best: bool = False,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """A checkpoint lies at `path`, a file or a folder, whole. `fitness` is {"metric": value} in
        the task of the run, or {"task/metric": value}. `parents` only where it does not continue
        the one before. `best` lets the name of the run with @best mean it. `tags`: what else is to
        be told, a learning rate say."""
        if is_main_process():
            self.recorder.checkpoint(
                path,
                step=step,
                fitness=self._scores(fitness or {}),
                parents=None if parents is None else _parents(parents, self.relation),
                best=best,
                tags=tags,
            )

    def _scores(self, fitness: Mapping[str, float]) -> list[dict[str, Any]]:
        found = []
        for niche, value in fitness.items():
            task, slash, metric = niche.rpartition("/")
            found += scores({metric: value}, task if slash else self.task or self.recorder.run)
        return found

    @guarded
    def _begin(self) -> None:
        if is_main_process():
            self.recorder.begin()

    @guarded
    def _end(self) -> None:
        self.recorder.end()


def _parents(given: Any, relation: str | None) -> list[dict[str, Any]]:
    if given is None:
        return []
    several: Iterable[Any] = given if isinstance(given, (list, tuple, set)) else [given]
    return [parent(one, relation) for one in several]
