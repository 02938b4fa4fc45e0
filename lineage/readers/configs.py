"""The configuration files that tools write beside weights: transformers, its Trainer, PEFT,
mergekit, diffusers."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from lineage.errors import InvalidValue
from lineage.organism import Score, whole
from lineage.readers.plain_yaml import plain_yaml
from lineage.readers.said import Said, json_object

COMMIT = re.compile(r"[0-9a-f]{40}")
NO_FITNESS = re.compile(
    r"(?:\w+_)?(?:runtime|samples_per_second|steps_per_second|tokens_per_second|"
    r"model_preparation_time|jit_compilation_time|mem_\w+)|epoch|step|grad_norm|learning_rate"
)
MOST_EARLIER = 256
"""Beginnings of a log that are kept, the latest: the parent is one of the last saves."""


def transformers(content: bytes | bytearray, folder: str) -> Said:
    """`config.json`: `_name_or_path`, which transformers 4 wrote and 5 does not."""
    said = Said()
    known = json_object(content)
    if isinstance(known.get("architectures"), list) or "model_type" in known:
        said.kinds.append("transformers")
    commit = known.get("_commit_hash")
    said.claim(
        known.get("_name_or_path"),
        "config.json",
        relation="quantized" if isinstance(known.get("quantization_config"), dict) else None,
        revision=commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else None,
    )
    return said


def diffusers(content: bytes | bytearray, folder: str) -> Said:
    """`model_index.json`: the pipeline's class, and what it was loaded from."""
    said = Said(kinds=["diffusers"])
    known = json_object(content)
    said.fact("architecture", known.get("_class_name"))
    said.claim(known.get("_name_or_path"), "model_index.json")
    return said


def adapter(content: bytes | bytearray, folder: str) -> Said:
    """`adapter_config.json` of PEFT: the base, and its revision where it is told."""
    said = Said(kinds=["adapter"])
    known = json_object(content)
    revision = known.get("revision")
    said.claim(
        known.get("base_model_name_or_path"),
        "adapter_config.json",
        relation="adapter",
        revision=revision if isinstance(revision, str) and revision else None,
    )
    said.tag("peft", known.get("peft_type"))
    return said


def mergekit(content: bytes | bytearray, folder: str) -> Said:
    """`mergekit_config.yml`: every model that went in, with its weight where that is one number."""
    said = Said(kinds=["merge"])
    known = plain_yaml(content.decode("utf-8", "replace"))
    if not isinstance(known, dict):
        raise ValueError("it is no mapping")
    said.tag("merge_method", known.get("merge_method"))
    seen: set[str] = set()
    for ref, weight in _merged(known):
        for one in ref.split("+") if isinstance(ref, str) else ():  # model+lora
            path, _, revision = one.partition("@")
            if path and one not in seen:
                seen.add(one)
                said.claim(
                    path, "mergekit_config.yml", relation="merge", revision=revision or None,
                    weight=weight if one == ref else None,
                )  # fmt: skip
    return said


def _merged(known: Mapping[str, Any]) -> Iterator[tuple[Any, float | None]]:
    """The models of a merge with their weights."""
    for key, name in (("models", "model"), ("experts", "source_model")):
        for one in _mappings(known.get(key)):
            parameters = one.get("parameters")
            weight = parameters.get("weight") if isinstance(parameters, dict) else None
            yield one.get(name), _number(weight)
    for cut in _mappings(known.get("slices")):
        for source in _mappings(cut.get("sources")):
            yield source.get("model"), None
    yield known.get("base_model"), None


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < float("inf") else None


def trainer(content: bytes | bytearray, folder: str) -> Said:
    """`trainer_state.json` of the transformers Trainer: the step, the last evaluation, the best.

    A run is known by its folder: scores on data that nobody names are comparable within it alone,
    so the folder is their task."""
    said = Said(kinds=["trainer"])
    known = json_object(content)
    run = os.path.dirname(folder)
    said.fact("run", run)
    try:
        said.facts["step"] = whole(known.get("global_step"), "global_step")
    except InvalidValue as error:
        said.notes.append(f"trainer_state.json: {error}")
    said.tag("epoch", known.get("epoch"))
    best = known.get("best_model_checkpoint")
    if isinstance(best, str) and os.path.basename(best.rstrip("/\\")) == os.path.basename(folder):
        said.tag("best", known.get("best_metric"))
    log = known.get("log_history")
    entries = [one for one in log if isinstance(one, dict)] if isinstance(log, list) else []
    said.scores = list(_last_scores(entries, run, said))
    _history(entries, known.get("save_steps"), said)
    return said


def _last_scores(entries: Sequence[Mapping[str, Any]], run: str, said: Said) -> Iterator[Score]:
    """The scores of the last evaluation in a log."""
    for entry in reversed(entries):
        found = {
            key: value
            for key, value in entry.items()
            if key.startswith("eval_") and not NO_FITNESS.fullmatch(key)
        }
        for key, value in found.items():
            try:
                yield Score(f"{run}/{key}", value)
            except InvalidValue as error:
                said.notes.append(f"trainer_state.json: a score was left out: {error}")
        if found:
            return


def _history(entries: Sequence[Mapping[str, Any]], every: Any, said: Said) -> None:
    """The digest of the log, and those of its beginnings that end where a save may have been."""
    rolling = hashlib.sha256()
    saves = every if isinstance(every, int) and every > 1 else 1
    told = [_entry(entry) for entry in entries]
    steps = [entry.get("step") for entry in entries]
    begin = 0

    def roll(end: int) -> str:
        rolling.update(b"".join(told[begin:end]))
        return rolling.hexdigest()[:32]

    for end, (step, following) in enumerate(pairwise(steps), 1):
        if step != following and isinstance(step, int) and step % saves == 0:
            said.earlier.append(roll(end))
            begin = end
    del said.earlier[:-MOST_EARLIER]
    if entries:
        said.history = roll(len(told))


def _entry(entry: Mapping[str, Any]) -> bytes:
    """An entry of a log, for its digest: keys, and values as doubles, which takes a tenth of the
    time that writing them out takes; an entry that holds more than numbers is written out."""
    keys = sorted(entry)
    try:
        values = struct.pack(f"<{len(keys)}d", *[entry[key] for key in keys])
    except (struct.error, OverflowError):
        return repr(sorted(entry.items())).encode("utf-8", "surrogatepass")
    return "\0".join(keys).encode("utf-8", "surrogatepass") + values
