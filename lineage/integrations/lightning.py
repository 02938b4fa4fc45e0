"""For Lightning: `Trainer(callbacks=[LineageCallback(task="cifar10"), ModelCheckpoint(...)])`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:  # the older distribution of the same
    from pytorch_lightning import Callback

from lineage.energy import Meter
from lineage.integrations.models import is_adapter, loaded_from
from lineage.integrations.recorder import Recorder, data_set, guarded, parent, plain, scores

_EVALUATED = re.compile(r"^(val|valid|validation|eval)", re.IGNORECASE)
ARGUMENTS = (
    "max_epochs", "max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val",
    "world_size",
)  # fmt: skip


class LineageCallback(Callback):
    """Registers every file that a ModelCheckpoint of the Trainer saves, in the registry `db` (by
    default the one that `lineage.open` finds), without ever stopping or slowing it.

    The parent is the checkpoint of `ckpt_path`, else what a Hugging Face model inside was loaded
    from; `parents` says otherwise. `name` is what its checkpoints are versions of. `task` names
    what the validation scores are of; without it that is the data set, where it has a name and a
    fingerprint, else the run. `meter` counts the joules between checkpoints: by default the most
    trusted one that this machine has."""

    def __init__(
        self,
        task: str | None = None,
        *,
        name: str | None = None,
        db: str | os.PathLike[str] | None = None,
        parents: Any = None,
        tags: Mapping[str, Any] | None = None,
        meter: Meter | None = None,
        allow_network_fs: bool = False,
    ) -> None:
        self.task, self.name, self.given = task, name, parents
        self.tags = {key: str(value) for key, value in (tags or {}).items()}
        self._new = partial(Recorder, db, meter=meter, allow_network_fs=allow_network_fs)
        self.recorder = self._new()
        self._seen: dict[str, int] = {}
        self._measured: tuple[int, list[dict[str, Any]]] = (-1, [])
        self._saved: tuple[int, dict[str, Any]] | None = None

    @guarded
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        seconds, self.recorder = self.recorder.seconds, self._new()
        self.recorder.seconds = seconds
        self._measured, self._saved = (-1, []), None
        folders = [one.dirpath for one in trainer.checkpoint_callbacks if one.dirpath]
        self.recorder.name = self.name or _run_name(folders[0] if folders else type(pl_module))
        self.recorder.tags.update(self.tags)
        name = data_set(getattr(trainer.train_dataloader, "dataset", None))[0]
        if name:
            self.recorder.tags["dataset"] = name
        self.recorder.configuration = plain(
            {"hyperparameters": dict(pl_module.hparams)}
            | {key: getattr(trainer, key, None) for key in ARGUMENTS}
        )
        self._descend(trainer, pl_module)
        self._seen = {path: _modified(path) for path in self._paths(trainer)}
        for folder in filter(os.path.isdir, folders):
            for entry in os.scandir(folder):
                if entry.name.endswith(".ckpt"):
                    self._seen[os.path.abspath(entry.path)] = entry.stat().st_mtime_ns
                    self.recorder.found(entry.path)
        self.recorder.begin()

    def _descend(self, trainer: Any, pl_module: Any) -> None:
        inside = [one for one in (pl_module, *pl_module.children()) if loaded_from(one)]
        relation = "adapter" if any(map(is_adapter, inside)) else "finetune"
        if self.given is not None:
            several = self.given if isinstance(self.given, (list, tuple)) else [self.given]
            started = [parent(one, relation) for one in several]
        else:
            started = [{**(loaded_from(one) or {}), "relation": relation} for one in inside[:1]]
        if relation == "adapter":
            self.recorder.base = started
        else:
            self.recorder.parents = started
        if trainer.ckpt_path:
            resumed = os.path.abspath(trainer.ckpt_path)
            self.recorder.parents = [parent(resumed, "continue", "configured")]

    @guarded
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            directions = {
                one.monitor: "higher" if one.mode == "max" else "lower"
                for one in trainer.checkpoint_callbacks
                if one.monitor
            }
            metrics = {
                key: value
                for key, value in trainer.callback_metrics.items()
                if _EVALUATED.match(key) or (key in directions and not key.startswith("train"))
            }
            loaders = trainer.val_dataloaders
            loader = loaders[0] if isinstance(loaders, list) and loaders else loaders
            _, known, size, split = data_set(getattr(loader, "dataset", None))
            task = self.task or known or self.recorder.run
            found = scores(
                metrics, task, split="" if self.task or not known else split, n=size,
                directions=directions,
            )  # fmt: skip
            self._measured = (trainer.global_step, found)

    @guarded
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        # The file does not exist yet: the next hook finds it.
        if trainer.is_global_zero:
            told: dict[str, Any] = {"epoch": trainer.current_epoch}
            for optimizer in trainer.optimizers[:1]:
                told["learning_rate"] = float(optimizer.param_groups[0]["lr"])
            for key in ("train_loss", "loss"):
                if key in trainer.callback_metrics:
                    told["loss"] = float(trainer.callback_metrics[key])
            self._saved = (trainer.global_step, told)

    @guarded
    def _collect(self, trainer: Any) -> None:
        """Record the files that were saved since the last hook."""
        if self._saved is None:
            return
        (step, told), self._saved = self._saved, None
        measured = self._measured[1] if self._measured[0] == step else []
        first = trainer.checkpoint_callback
        best = first.best_model_path if first is not None and first.monitor else ""
        for path in self._paths(trainer):
            modified = _modified(path)
            if modified and self._seen.get(path) != modified:
                self._seen[path] = modified
                self.recorder.checkpoint(
                    path, step=step, fitness=measured, tags=told,
                    best=bool(best) and os.path.abspath(best) == path,
                )  # fmt: skip

    @staticmethod
    def _paths(trainer: Any) -> list[str]:
        """Every file that the ModelCheckpoints hold, each once."""
        found: dict[str, None] = {}
        for one in trainer.checkpoint_callbacks:
            held = (
                *getattr(one, "best_k_models", {}),
                getattr(one, "_last_checkpoint_saved", ""),
                getattr(one, "best_model_path", ""),
                getattr(one, "last_model_path", ""),
            )
            found.update((os.path.abspath(path), None) for path in held if path)
        return list(found)

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if self._saved is not None:
            self._collect(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._collect(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._collect(trainer)

    @guarded
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self._collect(trainer)
            self.recorder.end()

    @guarded
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if trainer.is_global_zero:
            self._collect(trainer)
            self.recorder.end()


def _modified(path: str) -> int:
    """When a file was last written; 0 where there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _run_name(where: Any) -> str:
    """`lightning_logs/version_3` for what lies in its folder `checkpoints`."""
    if isinstance(where, type):
        return where.__name__
    parts = PurePath(os.path.abspath(where)).parts
    if parts[-1] == "checkpoints":
        parts = parts[:-1]
    return "/".join(parts[-2:] if parts[-1].startswith("version_") else parts[-1:])
