"""A scan finds checkpoints and who descends from whom, says by what it knows, loses nothing to what
is broken, and opens no file twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT, missing
from safetensors.numpy import save_file

import lineage
from lineage.cli import main
from lineage.errors import LineageError
from lineage.registry import Registry

WHEELS = ROOT / ".venv" / "share" / "wheels"


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    with lineage.open(registry_url) as opened:
        yield opened


def weights(path: Path, *seeds: int) -> Path:
    """A safetensors file with a tensor of 40 x 50 for each seed: the same seed, the same tensor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            f"layer.{index}": np.random.default_rng(seed).normal(size=(40, 50)).astype(np.float32)
            for index, seed in enumerate(seeds)
        },
        str(path),
    )
    return path


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def older(path: Path, seconds: float = 3600) -> None:
    at = path.stat().st_mtime - seconds
    os.utime(path, (at, at))


def checkpoint(folder: Path, *seeds: int, **files: Any) -> Path:
    """A folder with weights and the files given, `config_json={...}` as config.json."""
    weights(folder / "model.safetensors", *(seeds or (abs(hash(str(folder))) % 2**32,)))
    put(folder / "config.json", {"model_type": "llama", "architectures": ["Llama"]})
    for name, content in files.items():
        put(folder / name.replace("_json", ".json").replace("_md", ".md"), content)
    return folder


def state(step: int, **more: Any) -> dict[str, Any]:
    log: list[dict[str, Any]] = []
    for at in range(10, step + 1, 10):
        log.append({"step": at, "loss": 5 - at / 100, "grad_norm": 1.0, "epoch": at / 40})
        if at % 20 == 0:
            log.append(
                {"step": at, "eval_loss": 4 - at / 100, "eval_runtime": 0.1,
                 "eval_samples_per_second": 9.0, "epoch": at / 40}
            )  # fmt: skip
    return {"global_step": step, "epoch": step / 40, "save_steps": 20, "log_history": log} | more


def links(found: Any) -> set[tuple[str, str, str, str]]:
    return {(one.child, one.parent, one.relation, one.evidence) for one in found.links}


def aside(found: Any) -> str:
    return "\n".join(f"{path}: {reason}" for path, reason in found.set_aside)


# ---- what files say


def test_a_run_of_the_trainer(registry: Registry, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "sft"
    for step in (20, 40, 60):
        best = {"best_model_checkpoint": "runs/sft/checkpoint-40", "best_metric": 3.6}
        checkpoint(run / f"checkpoint-{step}", step, trainer_state_json=state(step, **best))
    found = registry.scan(tmp_path / "runs")
    assert registry.count() == 0
    assert links(found) == {
        ("sft/checkpoint-40", "sft/checkpoint-20", "continue", "configured"),
        ("sft/checkpoint-60", "sft/checkpoint-40", "continue", "configured"),
    }
    assert registry.scan(tmp_path / "runs", apply=True).registered == 3
    last = registry.record("sft/checkpoint-60")
    assert (last.organism.step, last.organism.run) == (60, str(run))
    (score,) = last.scores
    assert (str(score.niche), score.value, score.direction) == (
        f"{run}/eval_loss", pytest.approx(3.4), "lower"
    )  # fmt: skip
    assert registry.record("sft/checkpoint-40").tags["best"] == "3.6"
    assert "best" not in last.tags
    assert [one.name for one in registry.ancestors("sft/checkpoint-60")] == [
        "sft/checkpoint-40", "sft/checkpoint-20"
    ]  # fmt: skip


def test_a_later_checkpoint_finds_the_one_that_was_scanned_before(
    registry: Registry, tmp_path: Path
) -> None:
    checkpoint(tmp_path / "runs/a/checkpoint-20", 1, trainer_state_json=state(20))
    registry.scan(tmp_path / "runs", apply=True)
    checkpoint(tmp_path / "runs/b/checkpoint-40", 2, trainer_state_json=state(40))
    found = registry.scan(tmp_path / "runs", apply=True)
    assert found.unchanged == 1
    (link,) = registry.parents("b/checkpoint-40")
    assert (link.parent.name, link.relation) == ("a/checkpoint-20", "continue")


def test_logs_that_begin_otherwise_are_not_the_same_run(
    registry: Registry, tmp_path: Path
) -> None:
    checkpoint(tmp_path / "a/checkpoint-20", 1, trainer_state_json=state(20))
    other = state(40)
    other["log_history"][0]["loss"] = 4.000001
    checkpoint(tmp_path / "b/checkpoint-40", 2, trainer_state_json=other)
    assert not registry.scan(tmp_path).links


def test_an_adapter_knows_its_base_by_a_relative_path_or_by_its_repository(
    registry: Registry, tmp_path: Path
) -> None:
    checkpoint(tmp_path / "work/models/base", 1)
    for name, base, revision in (
        ("near", "models/base", None), ("far", "meta/llama", None), ("pinned", "meta/llama", "v2"),
    ):  # fmt: skip
        folder = tmp_path / "work/runs" / name
        weights(folder / "adapter_model.safetensors", 7 + len(name))
        put(
            folder / "adapter_config.json",
            {"base_model_name_or_path": base, "revision": revision, "peft_type": "LORA"},
        )
    found = registry.scan(tmp_path / "work", apply=True)
    assert links(found) == {
        ("near", "base", "adapter", "configured"),
        ("far", "hf:meta/llama", "adapter", "configured"),
        ("pinned", "hf:meta/llama@v2", "adapter", "configured"),
    }
    assert registry.parents("near")[0].needed
    assert registry.parents("far")[0].parent.ghost


def test_a_merge_says_in_its_own_file_what_went_in(registry: Registry, tmp_path: Path) -> None:
    checkpoint(tmp_path / "a", 1)
    checkpoint(tmp_path / "b", 2)
    merged = checkpoint(tmp_path / "merged", 3)
    put(
        merged / "mergekit_config.yml",
        "models:\n  - model: ../a\n    parameters:\n      weight: 0.7\n  - model: org/c@main\n"
        f"  - model: {tmp_path}/b+org/lora\nmerge_method: linear\nbase_model: a\n",
    )
    put(merged / "README.md", "---\nbase_model: []\nlicense: mit\n---\n# merged\n")
    found = registry.scan(tmp_path, apply=True)
    assert links(found) == {
        ("merged", parent, "merge", "configured")
        for parent in ("a", "b", "hf:org/c@main", "hf:org/lora")
    }
    weight = {link.parent.name: link.weight for link in registry.parents("merged")}
    assert weight["a"] == 0.7
    assert weight["b"] is None
    record = registry.record("merged")
    assert record.organism.licence == "mit"
    assert record.tags["merge_method"] == "linear"


def test_a_number_of_hundreds_of_digits_is_left_out(registry: Registry, tmp_path: Path) -> None:
    log = [{"eval_loss": 10**400, "eval_acc": 0.5, "step": 7}]
    state = json.dumps({"global_step": 10**400, "log_history": log})
    checkpoint(tmp_path / "m", 1, trainer_state_json=state)
    found = registry.scan(tmp_path, apply=True)
    assert [score.value for score in registry.record("m").scores] == [0.5]
    assert sum("is inf" in reason for _, reason in found.set_aside) == 2


CARD = """---
license: apache-2.0
base_model: org/base
base_model_relation: finetune
new_version: org/newer
co2_eq_emissions:
  emissions: 123.5
  source: codecarbon
model-index:
- name: m
  results:
  - task: {type: text-generation}
    dataset: {name: GSM8K, type: gsm8k, config: main, split: test}
    metrics:
    - {type: exact_match, value: 0.61}
    - {type: acc, value: lots}
---
# A model
"""


def test_a_card_declares(registry: Registry, tmp_path: Path) -> None:
    checkpoint(tmp_path / "m", 1, README_md=CARD)
    found = registry.scan(tmp_path, apply=True)
    assert links(found) == {("m", "hf:org/base", "finetune", "declared")}
    record = registry.record("m")
    assert record.organism.licence == "apache-2.0"
    assert record.tags["superseded_by"] == "org/newer"
    ((niche, value, split),) = [(str(s.niche), s.value, s.split) for s in record.scores]
    assert (niche, value, split) == ("gsm8k:main/exact_match (test)", 0.61, "test")
    (cost,) = record.power
    assert (cost.gco2e, cost.source, cost.phase) == (123.5, "declared", "training")
    assert "codecarbon" in cost.meter
    assert "is no number" in aside(found)


def test_contradictions_are_all_kept(registry: Registry, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", 1, README_md="---\nbase_model: org/one\n---\n")
    put(folder / "config.json", {"model_type": "llama", "_name_or_path": "org/two"})
    registry.scan(tmp_path, apply=True)
    said = {
        (link.parent.ref, one.evidence)
        for link in registry.parents("m")
        for one in link.evidence
    }
    assert {evidence for _, evidence in said} == {"declared", "configured"}
    assert len(registry.parents("m")) == 2


def test_a_pipeline_of_diffusers_is_one_checkpoint(registry: Registry, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    put(pipe / "model_index.json", {"_class_name": "StableDiffusion", "_name_or_path": "org/sd"})
    for part in ("unet", "vae"):
        weights(pipe / part / "diffusion_pytorch_model.safetensors", len(part))
        put(pipe / part / "config.json", {})
    found = registry.scan(tmp_path, apply=True)
    (one,) = found.seen
    assert one.digest == lineage.genome.read(pipe).digest
    assert links(found) == {("pipe", "hf:org/sd", "finetune", "configured")}
    assert registry.get("pipe").architecture == "StableDiffusion"


def gguf(path: Path, tensors: dict[str, np.ndarray], **known: Any) -> Path:
    """A GGUF file as the format's description has it: F16 tensors, texts and numbers."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    entries = b"".join(
        text(key.replace("__", "."))
        + (struct.pack("<I", 8) + text(value) if isinstance(value, str)
           else struct.pack("<II", 4, value))
        for key, value in known.items()
    )  # fmt: skip
    entries += text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    infos, data = b"", b""
    for name, values in tensors.items():
        infos += text(name) + struct.pack("<I", values.ndim)
        infos += struct.pack(f"<{values.ndim}Q", *values.shape) + struct.pack("<IQ", 1, len(data))
        data += values.astype(np.float16).tobytes()
        data += b"\0" * (-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(known) + 1) + entries + infos
    return put(path, head + b"\0" * (-len(head) % 32) + data)


def test_a_gguf_names_its_base(registry: Registry, tmp_path: Path) -> None:
    values = {"w": np.random.default_rng(1).normal(size=(40, 50))}
    base = {"general__base_model__count": 1}
    url = {"general__base_model__0__repo_url": "https://huggingface.co/org/base"}
    gguf(tmp_path / "m-f16.gguf", values, general__architecture="llama", **base, **url)
    gguf(tmp_path / "n-f16.gguf", {"w": values["w"] + 1}, **base,
         general__base_model__0__organization="My Org",
         general__base_model__0__name="Base Model")  # fmt: skip
    put(tmp_path / "README.md", "---\nbase_model: org/card\n---\n")
    found = registry.scan(tmp_path, apply=True)
    assert links(found) == {
        ("m-f16", "hf:org/base", "convert", "configured"),
        ("m-f16", "hf:org/card", "quantized", "declared"),
        ("n-f16", "hf:My-Org/Base-Model", "convert", "configured"),
        ("n-f16", "hf:org/card", "quantized", "declared"),
    }
    one = registry.get("m-f16")
    assert (one.architecture, one.precision, one.parameters) == ("llama", "F16", 2000)


@pytest.mark.parametrize("cut", [3, 7, 20, 40, 100, 200, 3000])
def test_a_gguf_that_ends_early_is_set_aside(
    registry: Registry, tmp_path: Path, cut: int
) -> None:
    values = {"w": np.random.default_rng(1).normal(size=(40, 50))}
    whole = gguf(tmp_path / "whole.gguf", values, general__name="x").read_bytes()
    put(tmp_path / "cut.gguf", whole[:cut])
    found = registry.scan(tmp_path, apply=True)
    assert "cut.gguf is not what it claims to be" in aside(found)
    assert [one.name for one in found.seen] == ["whole"]
    assert registry.count() == 1


def test_a_gguf_of_another_version_is_registered_and_not_looked_into(
    registry: Registry, tmp_path: Path
) -> None:
    put(tmp_path / "old.gguf", b"GGUF" + struct.pack("<III", 1, 0, 0))
    assert "version 1" in aside(registry.scan(tmp_path, apply=True))
    assert registry.get("old").digest


@pytest.mark.parametrize(
    "lie",
    [
        struct.pack("<IQQ", 3, 2**60, 0),
        struct.pack("<IQQ", 3, 0, 2**60),
        struct.pack("<IQQQ", 3, 0, 1, 2**63),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**60),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 6, 2**62),
        struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 5) + b"\x09\0\0\0" * 40,
        struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<I", 2**31),
        struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 2**62, 0, 0),
        struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 4, 0, 2**63),
    ],
)
def test_a_gguf_that_lies_costs_nothing(
    registry: Registry, tmp_path: Path, lie: bytes
) -> None:
    put(tmp_path / "lie.gguf", b"GGUF" + lie)
    weights(tmp_path / "good.safetensors", 1)
    found = registry.scan(tmp_path, apply=True)
    assert "lie.gguf is not what it claims to be" in aside(found)
    assert [one.name for one in registry.find()] == ["good"]


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protocol buffer message."""

    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def test_an_onnx_model_shares_its_tensors_with_safetensors(
    registry: Registry, tmp_path: Path
) -> None:
    values = np.random.default_rng(5).normal(size=(40, 50)).astype(np.float32)
    base = tmp_path / "m" / "m.safetensors"
    base.parent.mkdir()
    save_file({"w": values}, str(base))
    older(base)
    tensor = b"".join(field(1, axis) for axis in values.shape) + field(2, 1)
    graph = field(5, tensor + field(8, b"w") + field(9, values.tobytes()))
    prop = field(14, field(1, b"base_model") + field(2, b"org/base"))
    put(tmp_path / "onnx" / "m.onnx", field(2, b"tester") + field(7, graph) + prop)
    found = registry.scan(tmp_path, apply=True)
    assert links(found) == {
        ("m", "hf:org/base", "convert", "configured"), ("m", "m", "convert", "hashed"),
    }  # fmt: skip


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("it-was-run",)


def lightning(path: Path, known: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(known, protocol=2))
        archive.writestr("archive/data/0", np.random.default_rng(len(str(known))).bytes(4000))
    return path


def test_a_checkpoint_of_lightning_is_read_and_never_run(
    registry: Registry, tmp_path: Path
) -> None:
    known = {"epoch": 3, "global_step": 1200, "pytorch-lightning_version": "2.6.6",
             "state_dict": {"w": Evil()}, "callbacks": [(1, 2), {"x": Evil()}, {3, 4}, b"b"],
             "hyper_parameters": {"lr": 0.1, "n": None, "ok": True}}  # fmt: skip
    lightning(tmp_path / "v0" / "epoch=3-step=1200.ckpt", known)
    lightning(tmp_path / "v0" / "last.ckpt", {"step": Evil()})
    put(tmp_path / "v0" / "broken.ckpt", b"PK\x03\x04 not a zip")
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        damaged = tmp_path / "v0" / f"damaged-{kind}.ckpt"
        with zipfile.ZipFile(damaged, "w", kind) as archive:
            archive.writestr("archive/data.pkl", bytes(range(250)))
        content = damaged.read_bytes()
        put(damaged, content[:46] + b"\xff" * 40 + content[86:])
    found = registry.scan(tmp_path, apply=True)
    assert len(found.seen) == 5
    one = registry.record("v0/epoch=3-step=1200")
    assert one.organism.step == 1200
    assert (one.tags["epoch"], one.tags["lightning"]) == ("3", "2.6.6")
    assert not Path("it-was-run").exists()


# ---- the Hugging Face cache


def cached(hub: Path, repository: str, commit: str, files: dict[str, bytes]) -> Path:
    """A snapshot as huggingface_hub lays it out: blobs, and links to them."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    for name, content in files.items():
        large = name.endswith(".safetensors")
        blob = hashlib.new("sha256" if large else "sha1", content).hexdigest()
        put(folder / "blobs" / blob, content)
        link = folder / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(folder / "blobs" / blob, link.parent))
    put(folder / "refs/main", commit)
    return folder


def test_the_cache_is_known_by_revision_and_not_hashed_again(
    registry: Registry, tmp_path: Path
) -> None:
    content = weights(tmp_path / "w.safetensors", 1).read_bytes()
    (tmp_path / "w.safetensors").unlink()
    commit = "ab" * 20
    hub = tmp_path / "hub"
    folder = cached(hub, "org/base", commit, {
        "model.safetensors": content, "config.json": b'{"model_type": "llama"}',
    })  # fmt: skip
    # the bytes of a large blob are not read: other ones of the same header pass unseen
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    child = tmp_path / "lora"
    weights(child / "adapter_model.safetensors", 2)
    put(child / "adapter_config.json", {"base_model_name_or_path": "org/base"})
    found = registry.scan(tmp_path, apply=True)
    one = registry.record("org/base")
    assert one.organism.digest == hashlib.sha256(content).hexdigest()
    assert f"hf:org/base@{commit}" in {place.uri for place in one.places}
    assert one.organism.parameters == 2000
    assert links(found) == {("lora", "org/base", "adapter", "configured")}
    assert not registry.parents("lora")[0].parent.ghost
    assert registry.scan(tmp_path).unchanged == 2


# ---- tensors


def test_shared_tensors_find_the_parent_that_no_file_names(
    registry: Registry, tmp_path: Path
) -> None:
    older(weights(tmp_path / "base/model.safetensors", 1, 2, 3, 4))
    weights(tmp_path / "merged-lora/model.safetensors", 1, 2, 3, 9)
    weights(tmp_path / "other/model.safetensors", 11, 12, 13, 14)
    found = registry.scan(tmp_path, apply=True)
    (link,) = found.links
    assert (link.child, link.parent, link.evidence) == ("merged-lora", "base", "hashed")
    assert link.confidence == pytest.approx(0.75)
    ((evidence,),) = [one.evidence for one in registry.parents("merged-lora")]
    assert evidence.confidence == pytest.approx(0.75)
    assert registry.record("merged-lora").tags["direction"] == "file-times"


def test_where_no_time_tells_who_was_first_nothing_is_linked(
    registry: Registry, tmp_path: Path
) -> None:
    weights(tmp_path / "a/model.safetensors", 1, 2, 3, 4)
    weights(tmp_path / "b/model.safetensors", 1, 2, 3, 9)
    found = registry.scan(tmp_path, apply=True)
    assert not found.links
    (pair,) = found.related
    assert ({pair.a, pair.b}, pair.of_a, pair.of_b) == (
        {"a", "b"}, pytest.approx(0.75), pytest.approx(0.75)
    )  # fmt: skip


def test_tensors_confirm_what_a_file_says(registry: Registry, tmp_path: Path) -> None:
    weights(tmp_path / "base/model.safetensors", 1, 2)
    checkpoint(tmp_path / "tuned", 1, 3)
    put(tmp_path / "tuned/config.json", {"_name_or_path": "../base"})
    found = registry.scan(tmp_path, apply=True)
    assert links(found) == {
        ("tuned", "base", "finetune", "configured"),
        ("tuned", "base", "finetune", "hashed"),
    }
    (link,) = registry.parents("tuned")
    assert {one.evidence for one in link.evidence} == {"configured", "hashed"}


def test_a_merge_that_contains_its_parents_is_found_later_too(
    registry: Registry, tmp_path: Path
) -> None:
    weights(tmp_path / "a.safetensors", 1, 2)
    weights(tmp_path / "b.safetensors", 3, 4)
    registry.scan(tmp_path, apply=True)
    weights(tmp_path / "both.safetensors", 1, 2, 3, 4)
    found = registry.scan(tmp_path, apply=True)
    assert found.unchanged == 2
    assert links(found) == {("both", "a", "merge", "hashed"), ("both", "b", "merge", "hashed")}


def fixed() -> dict[str, np.ndarray]:
    """Tables that everybody computes alike."""
    turn = np.arange(256) / 256 * 2 * np.pi
    window = np.hanning(256)
    rows = [window * np.cos(k * turn) for k in range(129)]
    rows += [window * -np.sin(k * turn) for k in range(129)]
    at = np.arange(128)[:, None] / 10000 ** (np.arange(32) / 32)
    return {
        "stft": np.array(rows, np.float32)[:, None],
        "zeros": np.zeros((40, 50), np.float32),
        "ones": np.ones((40, 50), np.float16),
        "mask": np.tril(np.ones((64, 64), np.float32)),
        "bool": np.tril(np.ones((64, 64), bool)),
        "ids": np.arange(4096, dtype=np.int64),
        "counts": np.arange(4096, dtype=np.int32),
        "sincos": np.concatenate([np.sin(at), np.cos(at)], 1).astype(np.float32),
        "interleaved": np.stack([np.sin(at), np.cos(at)], 2).reshape(128, 64).astype(np.float32),
        "rotary": np.cos(at).astype(np.float32),
        "small": np.random.default_rng(1).normal(size=999).astype(np.float32),
    }


@pytest.mark.parametrize("name", fixed())
def test_what_everybody_computes_alike_proves_nothing(
    registry: Registry, tmp_path: Path, name: str
) -> None:
    for seed, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        own = np.random.default_rng(90 + seed).normal(size=(10, 100)).astype(np.float32)
        save_file({"own": own, name: fixed()[name]}, str(tmp_path / folder / "model.safetensors"))
    older(tmp_path / "a/model.safetensors")
    found = registry.scan(tmp_path)
    assert not found.links
    assert not found.related


def test_an_embedding_whose_padding_is_zero_proves_something(
    registry: Registry, tmp_path: Path
) -> None:
    shared = np.random.default_rng(3).normal(size=(40, 100)).astype(np.float32)
    shared[0] = 0
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        own = np.random.default_rng(ord(folder)).normal(size=(10, 100)).astype(np.float32)
        save_file({"e": shared, "own": own}, str(tmp_path / folder / "model.safetensors"))
    assert len(registry.scan(tmp_path).related) == 1


# ---- real files


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models in two wheels: text2tashkeel 0.1.0 (Apache-2.0) and silero-vad 6.2.3 (MIT)."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("text2tashkeel-0.1.0", "silero_vad-6.2.3"):
        found = [*WHEELS.glob(f"{name}-*.whl")]
        if not found:
            missing(f"no wheel of {name}: `make test` fetches it.")
        with zipfile.ZipFile(found[0]) as archive:
            archive.extractall(folder)
    return folder


def test_real_models_a_merge_and_siblings(registry: Registry, real: Path) -> None:
    found = registry.scan(real, apply=True)
    assert links(found) == {
        ("rawi_ensemble.int8", "rawi_v2.int8", "merge", "hashed"),
        ("rawi_ensemble.int8", "rawi_v3.int8", "merge", "hashed"),
    }
    assert {one.confidence for one in found.links} == {1.0}
    # v5 and v6 share the basis of their Fourier transform and nothing else
    pairs = [{one.a, one.b} for one in found.related]
    assert {"silero_vad_16k_op15", "silero_vad_openvino_16k"} in pairs
    for alone in ("silero_vad_16k", "silero_vad_half", "rawi.int8", "bilstm.int8"):
        assert not [pair for pair in pairs if alone in pair]
    assert {link.parent.name for link in registry.parents("rawi_ensemble.int8")} == {
        "rawi_v2.int8", "rawi_v3.int8"
    }  # fmt: skip
    again = registry.scan(real)
    assert (again.unchanged, again.seen) == (12, ())


# ---- each file once, and nothing that is unchanged


@contextlib.contextmanager
def opened(below: Path) -> Iterator[Counter[str]]:
    """Counts the files below a folder that are opened meanwhile."""
    counts: Counter[str] = Counter()
    watching = True

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if watching and event == "open" and str(given[0]).startswith(str(below)):
            counts[str(given[0])] += 1

    sys.addaudithook(hook)  # cannot be taken away again
    try:
        yield counts
    finally:
        watching = False


def a_zoo(folder: Path) -> Path:
    for step in (20, 40):
        checkpoint(folder / f"sft/checkpoint-{step}", step, trainer_state_json=state(step),
                   README_md=CARD)  # fmt: skip
    for name in "ab":
        gguf(folder / f"quants/{name}.gguf", {"w": np.full((40, 50), ord(name)) + np.eye(40, 50)})
    put(folder / "quants/README.md", CARD)
    lightning(folder / "pl/last.ckpt", {"epoch": 1, "pytorch-lightning_version": "2"})
    cached(folder / "hub", "org/m", "cd" * 20, {
        "model.safetensors": weights(folder / "tmp.safetensors", 77).read_bytes(),
        "config.json": b"{}",
    })  # fmt: skip
    (folder / "tmp.safetensors").unlink()
    return folder


def test_no_file_is_opened_twice_and_the_second_time_none(tmp_path: Path) -> None:
    zoo = a_zoo(tmp_path / "zoo")
    with lineage.open(tmp_path / "registry.db") as registry:
        with opened(zoo) as counts:
            found = registry.scan(zoo, apply=True)
        assert len(found.seen) == 6
        assert max(counts.values()) == 1
        assert sum(name.endswith(".safetensors") for name in counts) == 3
        with opened(zoo) as counts:
            again = registry.scan(zoo, apply=True)
        assert (again.unchanged, again.registered) == (6, 0)
        assert [name for name in counts if not name.endswith("refs/main")] == []


def test_what_changed_is_read_again(registry: Registry, tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path / "zoo/one", 1), checkpoint(tmp_path / "zoo/other", 2)
    registry.scan(tmp_path / "zoo", apply=True)
    put(one / "README.md", CARD)
    weights(other / "model.safetensors", 3)
    found = registry.scan(tmp_path / "zoo", apply=True)
    assert [(seen.name, seen.known) for seen in found.seen] == [("one", True), ("other", False)]
    assert registry.record("one").organism.licence == "apache-2.0"
    assert [one.version for one in registry.find("other")] == [2, 1]


def test_a_scan_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    for number in range(30):
        checkpoint(zoo / f"m{number:02}", number)
    script = (
        "import os, sys, signal, lineage\nfrom lineage.scan import scanning\n"
        "scanning.BATCH = 10\nkeep = scanning._keep_tensors\ncalls = []\n"
        "def die(*given):\n    calls.append(1)\n"
        "    if len(calls) == 3: os.kill(os.getpid(), signal.SIGKILL)\n    keep(*given)\n"
        "scanning._keep_tensors = die\n"
        "lineage.open(sys.argv[1]).scan(sys.argv[2], apply=True)\n"
    )
    db = tmp_path / "registry.db"
    done = subprocess.run([sys.executable, "-c", script, str(db), str(zoo)])
    assert done.returncode == -signal.SIGKILL
    with lineage.open(db) as registry:
        assert registry.count() == 20
        found = registry.scan(zoo, apply=True)
        assert (found.unchanged, found.registered) == (20, 10)
        assert registry.count() == 30


def test_a_scan_gives_what_register_gives(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "zoo/m", 1)
    weights(folder / "onnx/model.safetensors", 5)
    with lineage.open("scanned.db") as one, lineage.open("registered.db") as other:
        one.scan(tmp_path / "zoo", apply=True)
        other.register(folder)
        a, b = one.record("m"), other.record("m")
        kept = [
            opened.database.connection.rows("SELECT kind, body FROM configuration JOIN document d "
                                            "ON d.id = document")
            for opened in (one, other)
        ]  # fmt: skip
    assert kept[0] == kept[1] != []
    assert a.files == b.files
    assert a.organism.digest == b.organism.digest
    assert a.organism.architecture == b.organism.architecture
    assert [place.uri for place in a.places] == [place.uri for place in b.places]


# ---- what is hostile


DEEP = "[" * 100_000
BOMB = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a]\nbase_model: *b\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", f"---\n{BOMB}---\n"),
        ("README.md", f"---\nbase_model: {DEEP}\n---\n"),
        ("README.md", "---\n" + "a: b\n" * 400_000 + "---\n"),
        ("README.md", "---\nbase_model: [\n---\n"),
        ("README.md", "---\n- a\n---\n"),
        ("README.md", "---\n!!python/object/apply:os.mkdir [it-was-run]\n---\n"),
        ("mergekit_config.yml", BOMB),
        ("mergekit_config.yml", "\x00\x01"),
        ("trainer_state.json", DEEP),
        ("trainer_state.json", "[]"),
        ("trainer_state.json", b"\xff\xfe\x00"),
        ("trainer_state.json", {"global_step": -1, "log_history": [{"eval_loss": "x"}, 3]}),
        ("adapter_config.json", "nonsense"),
        ("config.json", "{" * 100_000),
    ],
)
def test_a_hostile_file_is_named_and_the_weights_go_in(
    registry: Registry, tmp_path: Path, name: str, content: Any
) -> None:
    folder = checkpoint(tmp_path / "zoo/m", 1)
    put(folder / name, content)
    checkpoint(tmp_path / "zoo/good", 2)
    found = registry.scan(tmp_path / "zoo", apply=True)
    assert {one.name for one in found.seen} == {"m", "good"}
    assert name in aside(found)
    assert registry.count() == 2
    assert not Path("it-was-run").exists()


def test_circles_are_set_aside_and_everybody_goes_in(
    registry: Registry, tmp_path: Path
) -> None:
    for own, parent in (("a", "c"), ("b", "a"), ("c", "b"), ("d", "d")):
        folder = checkpoint(tmp_path / own, ord(own))
        put(folder / "config.json", {"_name_or_path": f"../{parent}"})
    found = registry.scan(tmp_path, apply=True)
    assert found.registered == 4
    assert sum(len(registry.parents(own)) for own in "abcd") == 2
    assert "descends from it" in aside(found)


def test_weird_names(registry: Registry, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    names = ["<b>x", "a'b\"c", "line\nbreak", "\x1b[31mred", "-rf", "#12", "ab" * 32, "…é"]
    for seed, name in enumerate(names):
        checkpoint(zoo / name, seed, README_md=f"---\nbase_model: {json.dumps(name)}\n---\n")
    os.makedirs(os.fsencode(zoo) + b"/\xff\xfe")
    (zoo / os.fsdecode(b"\xff\xfe") / "model.safetensors").write_bytes(b"x")
    found = registry.scan(zoo, apply=True)
    assert {one.name for one in found.seen} == set(names)
    assert "not UTF-8" in aside(found)
    assert registry.count() == len(names)


def test_links_out_of_the_folder_are_not_followed(registry: Registry, tmp_path: Path) -> None:
    secret = weights(tmp_path / "outside/model.safetensors", 1)
    zoo = tmp_path / "zoo"
    checkpoint(zoo / "good", 2)
    (zoo / "folder").symlink_to(secret.parent)
    (zoo / "loop").symlink_to(zoo)
    for name in ("linked", "dead"):
        put(zoo / name / "config.json", {})
    (zoo / "linked/model.safetensors").symlink_to(secret)
    (zoo / "dead/model.safetensors").symlink_to(tmp_path / "nowhere")
    (zoo / "again").mkdir()
    (zoo / "again/copy.safetensors").symlink_to(zoo / "good/model.safetensors")
    found = registry.scan(zoo, apply=True)
    assert sorted(one.name for one in found.seen) == ["copy", "good"]
    assert "link out of the folders" in aside(found)
    assert "leads nowhere" in aside(found)
    assert registry.count() == 1  # the same weights


def test_what_cannot_be_read_is_named(registry: Registry, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    checkpoint(zoo / "good", 1)
    put(zoo / "lying/model.safetensors", struct.pack("<Q", 2**62) + b"{}")
    put(zoo / "empty/model.safetensors", b"")
    put(zoo / "shards/model-00001-of-00002.safetensors", b"x")
    os.mkfifo(zoo / "good/pipe.bin")
    put(zoo / "noise/data.bin", b"no model")
    put(zoo / "noise/notes.txt", b"nor this")
    found = registry.scan(zoo, apply=True)
    assert [one.name for one in found.seen] == ["good"]
    for name in ("lying", "empty", "shards"):
        assert name in aside(found)
    assert "noise" not in aside(found)


def test_what_is_set_aside_comes_by_path_however_the_folder_lists_it(
    registry: Registry, tmp_path: Path
) -> None:
    for name in "gcaibhdfe":
        file = put(tmp_path / name / "model.safetensors", b"x" * (ord(name) * 7919 % 31))
        if name in "cf":
            file.unlink()
            file.symlink_to("nowhere")
    paths = [path for path, _ in registry.scan(tmp_path).set_aside]
    assert len(paths) == 9
    assert paths == sorted(paths)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(registry: Registry, tmp_path: Path) -> None:
    checkpoint(tmp_path / "zoo/good", 1)
    locked = checkpoint(tmp_path / "zoo/locked", 2)
    locked.chmod(0)
    try:
        found = registry.scan(tmp_path / "zoo", apply=True)
    finally:
        locked.chmod(0o700)
    assert "locked" in aside(found)
    assert registry.count() == 1


def test_what_a_file_says_and_the_registry_refuses_is_left_out(
    registry: Registry, tmp_path: Path
) -> None:
    registry.register(name="other", fitness=lineage.Score("gsm8k:main/acc", 1, direction="lower",
                                                         split="test"))  # fmt: skip
    checkpoint(tmp_path / "zoo/m", 1, README_md=CARD.replace("value: lots", "value: 0.5"))
    found = registry.scan(tmp_path / "zoo", apply=True)
    assert registry.get("m").digest
    assert "not all that its files say went in" in aside(found)


def test_a_root_that_is_no_folder(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(LineageError, match="is no folder"):
        registry.scan(tmp_path / "nowhere")
    assert registry.scan(tmp_path).seen == ()


# ---- the command


def run(*given: str) -> Any:
    return CliRunner().invoke(main, [*given])


def test_the_command_shows_first_and_registers_when_told(tmp_path: Path) -> None:
    a_zoo(tmp_path / "zoo")
    run("init")
    shown = run("scan", "zoo")
    assert "link\tsft/checkpoint-40\tsft/checkpoint-20\tcontinue\tconfigured" in shown.output
    assert run("ls", "--json").output.strip() == "[]"
    assert run("scan", "zoo", "--apply").exit_code == 0
    assert len(json.loads(run("ls", "--json").output)) == 6
    known = json.loads(run("scan", "zoo", "--json").output)
    assert (known["unchanged"], known["seen"], known["registered"]) == (6, [], None)
    assert set(known) == {
        "seen", "links", "related", "set_aside", "unchanged", "files", "registered"
    }  # fmt: skip


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    assert run("scan", "nowhere").exit_code == 2
    assert run("scan").exit_code == 2
    (tmp_path / "zoo").mkdir()
    assert run("--db", "nowhere.db", "scan", "zoo").exit_code == 3
