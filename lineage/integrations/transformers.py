"""For the Trainer of Hugging Face transformers, and so for trl and peft:
`Trainer(..., callbacks=[LineageCallback(task="gsm8k")])`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from typing import Any

from transformers import TrainerCallback

from lineage.energy import Meter
from lineage.integrations.models import is_adapter, loaded_from
from lineage.integrations.recorder import (
    Recorder,
    data_set,
    guarded,
    is_main_process,
    parent,
    plain,
    scores,
)
from lineage.organism import known_direction


class LineageCallback(TrainerCallback):
    """Registers every checkpoint that the Trainer saves, in the registry `db` (by default the one
    that `lineage.open` finds), without ever stopping or slowing it.

    The parent is what the model was loaded from, or the checkpoint that is resumed; `parents` says
    otherwise. `task` names what the scores are of; without it that is the evaluation data set by
    name and fingerprint, where it has them, else the run: scores on unknown data are compared with
    no other run's. `meter` counts the joules between checkpoints: by default the most trusted one
    that this machine has."""

    def __init__(
        self,
        task: str | None = None,
        *,
        db: str | os.PathLike[str] | None = None,
        parents: Any = None,
        tags: Mapping[str, Any] | None = None,
        meter: Meter | None = None,
        allow_network_fs: bool = False,
    ) -> None:
        self.task = task
        self.given = parents
        self.tags = {key: str(value) for key, value in (tags or {}).items()}
        self._new = partial(Recorder, db, meter=meter, allow_network_fs=allow_network_fs)
        self.recorder = self._new()
        self._measured: tuple[int, dict[str, Any]] = (-1, {})
        self._logged: dict[str, Any] = {}

    @guarded
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not is_main_process():
            return
        seconds, self.recorder = self.recorder.seconds, self._new()
        self.recorder.seconds = seconds
        self._measured, self._logged = (-1, {}), {}
        folder = self._folder(args, state)
        self.recorder.name = PurePath(os.path.abspath(folder)).name
        self.recorder.configuration = plain(args.to_dict())
        self.recorder.tags.update(self.tags)
        for kind in ("train", "eval"):
            name = data_set(getattr(kwargs.get(f"{kind}_dataloader"), "dataset", None))[0]
            if name:
                self.recorder.tags["dataset" if kind == "train" else "eval_dataset"] = name
        self._descend(args, state, folder, kwargs.get("model"))
        self.recorder.begin()

    def _descend(self, args: Any, state: Any, folder: str, model: Any) -> None:
        """Find what this run starts from, before anything is saved."""
        given, base = self.given, loaded_from(model)
        relation = "adapter" if is_adapter(model) else "finetune"
        if given is not None:
            several = given if isinstance(given, (list, tuple)) else [given]
            started = [parent(one, relation) for one in several]
        else:
            started = [base | {"relation": relation}] if base else []
        if relation == "adapter":  # every one of its checkpoints needs it
            self.recorder.base = started
        else:
            self.recorder.parents = started
        if state.global_step > 0:  # resumed: args.resume_from_checkpoint is often None
            resumed = args.resume_from_checkpoint
            if not isinstance(resumed, (str, os.PathLike)):
                resumed = os.path.join(folder, f"checkpoint-{state.global_step}")
            lies_there = os.path.exists(resumed)  # else it was resumed from somewhere else
            self.recorder.parents = (
                [parent(os.path.abspath(resumed), "continue", "configured")] if lies_there else []
            )
        if os.path.isdir(folder):
            for entry in os.scandir(folder):
                if entry.name.startswith("checkpoint-") and entry.is_dir():
                    self.recorder.found(entry.path)

    @guarded
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self._logged.update(
            {key: logs[key] for key in ("loss", "learning_rate") if key in (logs or {})}
        )

    @guarded
    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        if not is_main_process():
            return
        _, known, size, split = data_set(getattr(kwargs.get("eval_dataloader"), "dataset", None))
        found = scores(
            metrics or {},
            self.task or known or self.recorder.run,
            split="" if self.task or not known else split,
            n=size,
            directions=_directions(args),
        )
        step, before = self._measured
        self._measured = (
            state.global_step,
            {**(before if step == state.global_step else {}), **{s["metric"]: s for s in found}},
        )

    @guarded
    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not is_main_process():
            return
        path = os.path.join(self._folder(args, state), f"checkpoint-{state.global_step}")
        step, measured = self._measured
        best = state.best_model_checkpoint
        self.recorder.checkpoint(
            path,
            step=state.global_step,
            fitness=measured.values() if step == state.global_step else (),
            tags={**self._logged, "epoch": state.epoch},
            best=best is not None and os.path.abspath(best) == os.path.abspath(path),
        )

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.recorder.end()

    @staticmethod
    def _folder(args: Any, state: Any) -> str:
        if state.is_hyper_param_search and state.trial_name:
            trial = os.path.join(args.output_dir, str(state.trial_name))
            if os.path.isdir(trial):
                return trial
        return str(args.output_dir)


def _directions(args: Any) -> dict[str, str]:
    """What the arguments say is better. Where they say no more than transformers itself assumes
    (whatever does not end in `loss` is to rise), common knowledge of a metric counts."""
    metric, greater = args.metric_for_best_model, args.greater_is_better
    if not metric or greater is None:
        return {}
    metric = metric if metric.startswith("eval_") else f"eval_{metric}"
    known, said = known_direction(metric), "higher" if greater else "lower"
    assumed = bool(greater) == (not metric.endswith("loss"))
    return {metric: known if known and assumed else said}
