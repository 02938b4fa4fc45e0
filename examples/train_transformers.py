"""The Trainer of Hugging Face transformers, and peft: `python train_transformers.py [FOLDER]`.

A tiny Llama learns bytes of text that comes with Python: from scratch, then fine-tuned, then
adapted with LoRA. Some ten seconds, most of them imports; no GPU, no download.

Needs `pip install transformers accelerate peft`, with torch before them."""

from __future__ import annotations

import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from lineage.integrations.transformers import LineageCallback

TEXT = " ".join(topics.values()).encode()


class Bytes(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, begin: int, end: int) -> None:
        self.rows = [torch.tensor(list(TEXT[at * 64 : at * 64 + 64])) for at in range(begin, end)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def train(model: Any, folder: Path, steps: int = 40) -> None:
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=16,
        learning_rate=3e-3, eval_strategy="steps", eval_steps=10, save_steps=10,
        save_total_limit=2, metric_for_best_model="loss", report_to=[], use_cpu=True,
        disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Bytes(0, 256),
        eval_dataset=Bytes(256, 288),
        callbacks=[LineageCallback(task="python-docs")],  # the one line
    )
    trainer.train()
    trainer.save_model(str(folder / "final"))


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "trainer-runs")
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4,
    )  # fmt: skip
    train(LlamaForCausalLM(config), root / "base")
    train(LlamaForCausalLM.from_pretrained(root / "base" / "final"), root / "sft", 20)
    adapted = get_peft_model(
        LlamaForCausalLM.from_pretrained(root / "base" / "final"),
        LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"]),
    )
    train(adapted, root / "lora", 20)
    print("lineage tree   # once this has ended")


if __name__ == "__main__":
    main()
