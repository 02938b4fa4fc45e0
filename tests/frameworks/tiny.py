"""Models that train in a second on a CPU, on text that every Python has; nothing is downloaded.

As a script it is a run of the Trainer in a process of its own: `python tiny.py OUTPUT STEPS`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pydoc_data.topics

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

TEXT = " ".join(pydoc_data.topics.topics.values()).encode()


class Bytes(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Pieces of 32 bytes of real text."""

    def __init__(self, begin: int, count: int) -> None:
        self.rows = [
            torch.tensor(list(TEXT[at * 32 : at * 32 + 32])) for at in range(begin, begin + count)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=256, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def trainer(output: Path | str, callbacks: Any = (), of: Any = None, **more: Any) -> Trainer:
    """A Trainer of 20 steps that evaluates and saves every 5."""
    arguments: dict[str, Any] = dict(
        output_dir=str(output), max_steps=20, per_device_train_batch_size=8, learning_rate=1e-2,
        logging_steps=1, save_steps=5, eval_steps=5, eval_strategy="steps", save_strategy="steps",
        report_to=[], use_cpu=True, disable_tqdm=True, seed=1, data_seed=1,
    )  # fmt: skip
    made = Trainer(
        model=model() if of is None else of,
        args=TrainingArguments(**{**arguments, **more}),
        train_dataset=Bytes(0, 64),
        eval_dataset=Bytes(64, 16),
        callbacks=list(callbacks),
    )
    for noisy in (PrinterCallback, ProgressCallback):
        made.remove_callback(noisy)
    return made


def main() -> None:
    from lineage.integrations.transformers import LineageCallback

    class Tell(LineageCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            super().on_save(args, state, control, **kwargs)
            print(state.global_step, flush=True)

    output, steps = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    trainer(output, [Tell(task="text")], max_steps=steps, eval_strategy="no", save_steps=2).train()
    print("done", flush=True)


if __name__ == "__main__":
    main()
