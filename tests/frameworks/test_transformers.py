"""The callback of the Trainer: what it captures, live, on real runs, and that it harms none."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sound
import torch
from conftest import HERE, environment
from tiny import Bytes, model, trainer
from transformers import LlamaForCausalLM, TrainerCallback

import lineage
from lineage.integrations.transformers import LineageCallback
from lineage.registry import Registry

KILLS = 5


def relations(registry: Registry, ref: str) -> list[tuple[str, str]]:
    return sorted((link.relation, str(link.parent)) for link in registry.parents(ref))


def test_a_run_with_scores_arguments_and_joules(registry: Registry) -> None:
    trainer("runs/sft", [LineageCallback("text")], metric_for_best_model="loss").train()
    done = registry.sync()
    assert (done.waiting, done.set_aside) == ((), ())
    assert registry.count() == 4
    record = registry.record("sft/checkpoint-10")
    assert record.organism.step == 10
    assert record.organism.architecture == "LlamaForCausalLM"
    (score,) = record.scores  # runtime, throughput and epoch are none
    assert (str(score.niche), score.direction, score.n) == ("text/loss", "lower", 16)
    assert {"epoch", "learning_rate", "loss"} <= record.tags.keys()
    (power,) = record.power
    assert power.phase == "training"
    assert power.joules
    assert power.joules > 0
    assert relations(registry, "sft/checkpoint-10") == [("continue", "sft/checkpoint-5")]
    assert relations(registry, "sft/checkpoint-5") == []  # made from scratch: a founder
    assert registry.get("sft@best").step == 20  # the loss falls
    sound.check(registry)


def test_a_full_fine_tune_knows_its_parent_from_the_live_model(registry: Registry) -> None:
    model().save_pretrained("base")
    base = registry.register("base")
    trainer("sft", [LineageCallback("text")], LlamaForCausalLM.from_pretrained("base")).train()
    registry.sync()
    assert relations(registry, "sft/checkpoint-5") == [("finetune", "base")]
    assert registry.is_ancestor(base, "sft/checkpoint-20")


def test_an_adapter_needs_its_base(registry: Registry) -> None:
    from peft import LoraConfig, get_peft_model

    model().save_pretrained("base")
    registry.register("base")
    adapted = get_peft_model(
        LlamaForCausalLM.from_pretrained("base"),
        LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]),
    )
    trainer("lora", [LineageCallback("text")], adapted).train()
    registry.sync()
    assert relations(registry, "lora/checkpoint-5") == [("adapter", "base")]
    assert relations(registry, "lora/checkpoint-10") == [
        ("adapter", "base"), ("continue", "lora/checkpoint-5"),
    ]  # fmt: skip
    assert registry.record("base").load_bearing


def test_a_resumed_run_continues_the_checkpoint_it_resumed(registry: Registry) -> None:
    trainer("runs/sft", [LineageCallback("text")], max_steps=10).train()
    again = trainer("runs/sft", [LineageCallback("text")])
    again.train(resume_from_checkpoint=True)
    assert again.args.resume_from_checkpoint is None
    registry.sync()
    assert relations(registry, "sft/checkpoint-15") == [("continue", "sft/checkpoint-10")]
    assert len(registry.ancestors("sft/checkpoint-20")) == 3


def test_rotation_is_not_selection(registry: Registry) -> None:
    trainer("sft", [LineageCallback("text")], save_total_limit=1).train()
    registry.sync()
    statuses = {one.step: one.status for one in registry.find()}
    assert statuses == {5: "culled", 10: "culled", 15: "culled", 20: "alive"}
    bodies = [e.body for e in registry.history("sft/checkpoint-5") if e.kind == "culled"]
    assert bodies == [{"by": "rotation"}]
    trainer("sft", [LineageCallback("text")], max_steps=25, save_total_limit=1).train(
        resume_from_checkpoint=True
    )
    registry.sync()
    assert registry.get("sft/checkpoint-20").status == "culled"  # of the run before
    sound.check(registry)


def test_scores_on_unknown_data_stay_apart(registry: Registry) -> None:
    for name in ("a", "b"):
        trainer(name, [LineageCallback()], max_steps=5).train()
    registry.sync()
    niches = {str(s.niche) for n in "ab" for s in registry.record(f"{n}/checkpoint-5").scores}
    assert len(niches) == 2


class Told(Bytes):
    """A data set that tells its name and fingerprint, as those of the datasets library do."""

    class info:
        dataset_name = "topics"

    _fingerprint = "0123456789abcdef0123"
    split = "validation"


def test_scores_on_the_same_data_meet(registry: Registry) -> None:
    for name in ("a", "b"):
        run = trainer(name, [LineageCallback()], max_steps=5)
        run.eval_dataset = Told(64, 16)
        run.train()
    registry.sync()
    (niche,) = {s.niche for n in "ab" for s in registry.record(f"{n}/checkpoint-5").scores}
    assert (niche.task, niche.metric, niche.split) == (
        "topics-0123456789abcdef", "loss", "validation",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "greater", "said"),
    [
        ("loss", None, "lower"),
        ("eval_wer", None, "lower"),  # transformers assumes that it is to rise
        ("depth", None, "higher"),
        ("depth", False, "lower"),
        ("accuracy", False, "lower"),
    ],
)
def test_directions(metric: str, greater: bool | None, said: str, tmp_path: Path) -> None:
    from transformers import TrainingArguments

    from lineage.integrations.recorder import scores
    from lineage.integrations.transformers import _directions

    args = TrainingArguments(
        output_dir=str(tmp_path), metric_for_best_model=metric, greater_is_better=greater
    )
    key = metric if metric.startswith("eval_") else f"eval_{metric}"
    (found,) = scores({key: 1.0, "eval_other_runtime": 2.0}, "task", directions=_directions(args))
    assert found["direction"] == said


class Losses(TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.seen += [(key, logs[key]) for key in ("loss", "grad_norm", "eval_loss") if key in logs]


def losses(output: str, *callbacks: TrainerCallback) -> tuple[list[Any], bytes]:
    seen = Losses()
    run = trainer(output, [seen, *callbacks], of=model(3))
    run.train()
    weights = torch.cat([one.detach().flatten() for one in run.model.parameters()])
    return seen.seen, weights.numpy().tobytes()


def test_the_losses_are_the_same_to_the_last_bit(registry: Registry) -> None:
    class Broken(LineageCallback):
        """Every hook of it fails."""

        def _descend(self, *_: Any) -> None:
            raise RuntimeError("broken")

        def _folder(self, *_: Any) -> str:
            raise RuntimeError("broken")

    broken = Broken()
    without = losses("without")
    assert len(without[0]) > 40
    assert losses("with", LineageCallback("text")) == without
    assert losses("broken", broken) == without
    assert broken.recorder.lost > 0


def start(output: str, steps: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "tiny.py"), output, str(steps)],
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_trainer_that_is_killed_loses_nothing(registry: Registry) -> None:
    moments = random.Random(KILLS)
    for number in range(KILLS):
        process = start(f"run-{number}", 10_000)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(moments.uniform(0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        rest = [line for line in process.stdout if line.endswith("\n")]
        process.wait()
        last = max(int(line) for line in (first, *rest) if line.strip().isdigit())
        registry.sync()
        steps = {one.step for one in registry.find(f"run-{number}/checkpoint-*")}
        assert set(range(2, last + 1, 2)) <= steps <= set(range(2, last + 3, 2))
    assert registry.sync().arrived == 0
    with registry.database.read() as connection:
        costs = connection.value("SELECT count(*) FROM power")
        records = connection.value("SELECT count(*) FROM arrival")
    assert costs == records  # the same seed: the runs share their organisms
    sound.check(registry)


DISTRIBUTED = """
import atexit, os, sys
import torch
torch.set_num_threads(1)
import tiny
from lineage.integrations.transformers import LineageCallback
run = tiny.trainer("ddp", [LineageCallback("text")], max_steps=4, save_steps=2, eval_steps=2,
                   ddp_backend="gloo")
run.train()
assert torch.distributed.get_world_size() == 4
open(f"rank-{torch.distributed.get_rank()}", "w").write("done")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
atexit._run_exitfuncs()  # all that Python does at the end; then gloo's threads are not taken down,
sys.stderr.flush()       # of which one in ten times one aborts
os._exit(0)
"""


def test_of_four_processes_the_main_one_registers(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "ddp.py").write_text(DISTRIBUTED)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=4",
         "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "ddp.py"],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("rank-*"))) == 4
    registry.sync()
    assert sorted(one.step or 0 for one in registry.find()) == [2, 4]
    events = [e for one in registry.find() for e in registry.history(one)]
    assert len({e.pid for e in events if e.kind == "registered"}) == 1
    assert len(registry.record("ddp/checkpoint-4").scores) == 1


def test_a_run_registers_by_itself(registry: Registry) -> None:
    """In a process of its own, with the process beside it: no sync is needed."""
    process = start("alone", 4)
    out, _ = process.communicate(timeout=240)
    assert out.splitlines()[-1] == "done"
    assert registry.count() == 2
    assert lineage.__version__
