"""The callback of Lightning: every file of every ModelCheckpoint, with the scores of its step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import sound
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lineage.integrations.lightning import LineageCallback
from lineage.registry import Registry

pytestmark = pytest.mark.filterwarnings("ignore")


class Small(pl.LightningModule):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
        self.losses: list[float] = []

    def training_step(self, batch: Any, index: int) -> Any:
        loss = ((self.layer(batch[0]) - batch[1]) ** 2).mean()
        self.losses.append(loss.item())
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", ((self.layer(batch[0]) - batch[1]) ** 2).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])


def data() -> Any:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(32, 4, generator=made)
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8
    )


def fit(*callbacks: Any, epochs: int = 3, ckpt_path: str | None = None) -> Small:
    pl.seed_everything(1)
    module = Small()
    pl.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(module, data(), data(), ckpt_path=ckpt_path)  # fmt: skip
    return module


def test_every_file_of_every_model_checkpoint(registry: Registry) -> None:
    fit(
        LineageCallback("toy", name="run"),
        ModelCheckpoint("by-loss", monitor="val_loss", save_top_k=2, save_last=True),
        ModelCheckpoint("by-step", every_n_train_steps=3, save_top_k=-1),
    )
    done = registry.sync()
    assert (done.waiting, done.set_aside) == ((), ())
    there = {
        place.uri
        for one in registry.find()
        for place in registry.record(one).places
        if place.gone_at is None
    }
    assert there == {str(one.absolute()) for one in Path().glob("by-*/*.ckpt")}
    gone = [one for one in registry.find() if one.status == "culled"]
    assert gone  # the third best, and each last.ckpt but the last
    best = registry.record("run@best")
    assert [(str(s.niche), s.direction) for s in best.scores] == [("toy/loss", "lower")]
    assert best.organism.step == 12
    assert {"epoch", "learning_rate", "loss"} <= best.tags.keys()
    by_step = registry.find("by-step/*")
    assert sorted(one.step or 0 for one in by_step) == [3, 6, 9, 12]
    unscored = [one.step for one in by_step if not registry.record(one).scores]
    assert 3 in unscored  # no validation was of these weights
    sound.check(registry)


def test_a_resumed_run_continues_its_checkpoint(registry: Registry) -> None:
    fit(LineageCallback("toy"), ModelCheckpoint("one", filename="end"), epochs=1)
    fit(
        LineageCallback("toy"), ModelCheckpoint("two", filename="end"),
        epochs=2, ckpt_path="one/end.ckpt",
    )  # fmt: skip
    registry.sync()
    (link,) = registry.parents("two/end.ckpt")
    assert (link.relation, link.parent) == ("continue", registry.get("one/end.ckpt"))


def test_the_losses_are_the_same_to_the_last_bit(registry: Registry) -> None:
    plain = fit(ModelCheckpoint("a", every_n_train_steps=2))
    watched = fit(LineageCallback(), ModelCheckpoint("b", every_n_train_steps=2))
    assert len(plain.losses) == 12
    assert watched.losses == plain.losses
    assert torch.equal(watched.layer.weight, plain.layer.weight)
    registry.sync()
    assert registry.count() > 0
