"""Lightning: `python train_lightning.py [FOLDER]`.

A small regression with two ModelCheckpoints, then resumed with ckpt_path. Some ten seconds, most of
them imports; no GPU, no download. Needs `pip install lightning`, with torch before it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lineage.integrations.lightning import LineageCallback


class Line(pl.LightningModule):
    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(8, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_mse", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])


def loader(seed: int) -> Any:
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(seed))
    rows = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    return torch.utils.data.DataLoader(rows, batch_size=32)


def fit(folder: Path, epochs: int, ckpt_path: str | None = None) -> str:
    best = ModelCheckpoint(folder, "best", monitor="val_mse", save_last=True)
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        callbacks=[best, LineageCallback(task="sums")],  # the one line
    )  # fmt: skip
    trainer.fit(Line(), loader(1), loader(2), ckpt_path=ckpt_path)
    return best.last_model_path


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "lightning-runs")
    last = fit(root / "first", 3)
    fit(root / "further", 6, ckpt_path=last)
    print("lineage tree   # once this has ended")


if __name__ == "__main__":
    main()
