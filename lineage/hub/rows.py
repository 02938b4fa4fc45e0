"""What the Hub says of a model, as a Registration. A row is a model as the Hub's API gives it, of a
list or of one model; it is text from strangers: what cannot be used is set aside with a reason."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from lineage import genome
from lineage.errors import InvalidValue, LineageError
from lineage.organism import File, Niche, Parent, PowerCost, Score, utc
from lineage.registration import Registration
from lineage.store import POWER_NAMESPACE, micros

RELATIONS = ("finetune", "adapter", "quantized", "merge")
"""The relations that the Hub knows."""

SUPERSEDED = "superseded_by"
VOLATILE = ("downloads", "modified", SUPERSEDED, "gated")
"""Tags that tell of the Hub today: a later pull brings them up to date."""

# An id is `name` or `org/name` (huggingface_hub, utils/_validators.py, REPO_ID_REGEX).
_REPO = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{64}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UNKEPT = re.compile("[\x00\ud800-\udfff]")
LONGEST = 200
"""Characters of a part of a niche, or of a meter: PostgreSQL finds them by an index, which takes no
text of any length."""


@dataclass(slots=True)
class Read:
    """A model of the Hub: what is to be registered, and what was set aside of it, in sentences."""

    repo: str
    new: Registration
    set_aside: Sequence[str] = ()


def is_repo(ref: Any) -> bool:
    """Whether `ref` can be the id of a repository: `gpt2`, `org/name`."""
    return isinstance(ref, str) and _REPO.fullmatch(ref) is not None


def read(row: Mapping[str, Any], renamed: Mapping[str, str] | None = None) -> Read:
    """A row as a Registration under the name `org/name`, at the place `hf:org/name@sha`.

    Parents come from the tags `base_model:...`, which the Hub computes, and the card; `renamed`
    says what repositories are called now. Digests come from the LFS pointers of the row's
    `siblings`, where it has them. Raises InvalidValue for a row without an id."""
    repo = row.get("id") or row.get("modelId")
    if not isinstance(repo, str) or not is_repo(repo):
        raise InvalidValue(f"{str(repo)[:200]!r} is no id of a model on the Hub: org/name.")
    card = row.get("cardData")
    card = card if isinstance(card, Mapping) else {}
    tags = row.get("tags") or ()
    sha = row.get("sha")
    place = f"hf:{repo}@{sha}" if isinstance(sha, str) and _COMMIT.fullmatch(sha) else f"hf:{repo}"
    new = Registration(name=repo, places=((place, None),), exact=True)
    aside: list[str] = []
    new.parents = _parents(repo, row, card, tags, renamed or {}, aside)
    new.facts = _facts(row, card, tags)
    new.tags = _tags(row, card)
    if siblings := row.get("siblings"):
        _genome(new, place, siblings)
    if card:
        if index := card.get("model-index"):
            new.scores = tuple(of_index(index, aside))
        if (co2 := card.get("co2_eq_emissions")) is not None:
            new.power = tuple(_emissions(repo, co2, aside))
    if results := row.get("evalResults"):
        new.scores += tuple(_of_results(results, aside))
    return Read(repo, new, aside)


# ---- parents


def _parents(
    repo: str,
    row: Mapping[str, Any],
    card: Mapping[str, Any],
    tags: Iterable[Any],
    renamed: Mapping[str, str],
    aside: list[str],
) -> tuple[Parent, ...]:
    named, relation = named_parents(row, card, tags)
    if not named:
        return ()
    if relation == "merge" and len(named) == 1:
        aside.append(f"it is called a merge of {named[0]} alone: a merge has two parents or more.")
        return ()
    found: dict[str, Parent] = {}
    for one in named:
        now = renamed.get(one, one)
        if not is_repo(now):
            aside.append(f"its base model {one[:200]!r} is no repository of the Hub: a local path?")
        elif now == repo:
            aside.append("it names itself as its base model.")
        else:
            found[now] = Parent(now, relation)
    return tuple(found.values())


def named_parents(
    row: Mapping[str, Any], card: Mapping[str, Any], tags: Iterable[Any]
) -> tuple[list[str], str | None]:
    """The base models that a row names, each once, and the relation to all of them: what a tag
    says, else the card, else what it is (an adapter has PEFT for a library; several make a merge).
    """
    named: dict[str, None] = {}
    relation = None
    for tag in tags:
        if isinstance(tag, str) and tag.startswith("base_model:"):
            said = tag[11:]
            kind, colon, repo = said.partition(":")
            if colon and kind in RELATIONS:
                relation = kind
                named[repo] = None
            else:
                named[said] = None
    if card:
        bases = card.get("base_model")
        for one in bases if isinstance(bases, list) else (bases,):
            if isinstance(one, str) and (one := _UNKEPT.sub("", one).strip()):
                named[one.removeprefix("https://huggingface.co/").rstrip("/") or one] = None
        if relation is None and card.get("base_model_relation") in RELATIONS:
            relation = card["base_model_relation"]
    if not named:
        return [], None
    return list(named), relation or _inferred(row, tags, len(named))


def _inferred(row: Mapping[str, Any], tags: Iterable[Any], count: int) -> str:
    """What the Hub infers where nobody says it (hub-docs, model-cards.md)."""
    known = {tag for tag in tags if isinstance(tag, str)}
    if row.get("library_name") == "peft" or known & {"peft", "lora"}:
        return "adapter"
    if count > 1:
        return "merge"
    if row.get("gguf") or known & {"gguf", "awq", "gptq", "exl2", "bitsandbytes"}:
        return "quantized"
    return "finetune"


# ---- facts and tags


def _facts(
    row: Mapping[str, Any], card: Mapping[str, Any], tags: Iterable[Any]
) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    licence = licence_of(card)
    if not licence:
        licence = next(
            (tag[8:] for tag in tags if isinstance(tag, str) and tag.startswith("license:")), None
        )
    if isinstance(licence, str) and (licence := _UNKEPT.sub("", licence).strip()):
        facts["licence"] = licence
    if (created := time_of(row.get("createdAt"))) is not None:
        facts["created"] = created
    for source in (row.get("safetensors"), row.get("gguf")):
        if isinstance(source, Mapping):
            _weights_facts(source, facts)
    config = row.get("config")
    if isinstance(config, Mapping):
        known = config.get("architectures") or config.get("model_type")
        known = known[0] if isinstance(known, list) and known else known
        if isinstance(known, str) and (known := _UNKEPT.sub("", known).strip()):
            facts["architecture"] = known
    return facts


def licence_of(card: Mapping[str, Any]) -> Any:
    """The licence that a card names; several with commas between."""
    licence = card.get("license")
    if isinstance(licence, list):
        return ", ".join(one for one in licence if isinstance(one, str))
    return licence


def _weights_facts(source: Mapping[str, Any], facts: dict[str, Any]) -> None:
    kinds = source.get("parameters")
    kinds = {
        kind: count
        for kind, count in (kinds.items() if isinstance(kinds, Mapping) else ())
        if isinstance(count, int) and count > 0
    }
    total = source.get("total") or sum(kinds.values())
    if isinstance(total, int) and 0 < total < 2**63:
        facts.setdefault("parameters", total)
    if kinds:
        facts.setdefault("precision", str(max(kinds, key=kinds.__getitem__)))
    if isinstance(known := source.get("architecture"), str) and known.strip():
        facts.setdefault("architecture", _UNKEPT.sub("", known))


def time_of(value: Any) -> int | None:
    """A time of the Hub as microseconds since 1970."""
    if value is None or value == "":
        return None
    try:
        return micros(utc(value))
    except InvalidValue:
        return None


def _day(value: Any) -> str | None:
    """The day of a time of the Hub, which is text, or a date in a table."""
    day = str(value)[:10] if isinstance(value, (str, date)) else ""
    return day if _DAY.fullmatch(day) else None


def _tags(row: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, str]:
    tags = {}
    downloads = row.get("downloads")
    if isinstance(downloads, int) and downloads > 0:
        tags["downloads"] = str(downloads)
    # the day is enough for people, and most models never change after the day they were made
    modified = _day(row.get("lastModified"))
    if modified and modified != _day(row.get("createdAt")):
        tags["modified"] = modified
    later = card.get("new_version")
    if isinstance(later, str) and is_repo(later):
        tags[SUPERSEDED] = later
    if (gated := row.get("gated")) and gated != "false":
        tags["gated"] = gated[:LONGEST] if isinstance(gated, str) else "true"
    return tags


# ---- weights


def _genome(new: Registration, place: str, siblings: Iterable[Any]) -> None:
    """The digest of the weights out of their LFS pointers; unknown where one has none."""
    known: dict[str, File] = {}
    paths = []
    for one in siblings:
        path = one.get("rfilename") if isinstance(one, Mapping) else None
        if not isinstance(path, str) or not path.strip() or _UNKEPT.search(path):
            continue
        paths.append(path)
        lfs = one.get("lfs")
        digest = lfs.get("sha256") if isinstance(lfs, Mapping) else None
        size = lfs.get("size") if isinstance(lfs, Mapping) else None
        size = one.get("size") if size is None else size
        if isinstance(digest, str) and _HASH.fullmatch(digest) and isinstance(size, int):
            known[path] = File(path, size, digest, False)
    weights = genome.weights(paths)
    if not weights or not weights <= known.keys():
        return
    new.digest = bytes.fromhex(genome.combined([known[path].sha256 for path in weights]))
    new.facts["bytes"] = sum(known[path].bytes for path in weights)
    new.files = {
        place: [
            File(one.path, one.bytes, one.sha256, one.path in weights) for one in known.values()
        ]
    }


# ---- scores


def of_index(index: Any, aside: list[str]) -> list[Score]:
    """The metrics of a card's `model-index` (hub-docs, model-card metadata): the niche is the
    dataset (with its configuration), the metric's type, and the split."""
    scores: dict[Niche, Score] = {}
    for model in _objects(index):
        for result in _objects(model.get("results")):
            dataset, task = _object(result.get("dataset")), _object(result.get("task"))
            called = dataset.get("type") or dataset.get("name") or task.get("type")
            if config := dataset.get("config"):
                called = f"{called}:{config}"
            for metric in _objects(result.get("metrics")):
                kind = metric.get("type") or metric.get("name")
                _score(scores, called, kind, dataset.get("split"), metric.get("value"), aside)
    return list(scores.values())


def _of_results(results: Any, aside: list[str]) -> list[Score]:
    """The entries of `.eval_results/*.yaml`, which say a benchmark's dataset and task, and no
    metric: `score`, a higher one is better (hub-docs, eval-results.md)."""
    scores: dict[Niche, Score] = {}
    for entry in _objects(results):
        entry = _object(entry.get("data", entry))
        dataset = _object(entry.get("dataset"))
        task = dataset.get("task_id")
        called = dataset.get("id")
        if task and task != "default":
            called = f"{called}:{task}"
        _score(scores, called, "score", "", entry.get("value"), aside, entry.get("date"))
    return list(scores.values())


def _score(
    scores: dict[Niche, Score],
    task: Any,
    metric: Any,
    split: Any,
    value: Any,
    aside: list[str],
    at: Any = None,
) -> None:
    if isinstance(value, str):  # "61.2", and now and then "61.2 %"
        value = value.strip().removesuffix("%").strip()
    try:
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        aside.append(f"its score in {str(task)[:100]}/{str(metric)[:100]} is no number.")
        return
    words = [_UNKEPT.sub("", one).strip() if isinstance(one, str) else ""
             for one in (task, str(metric or "").replace("/", ":"), split)]  # fmt: skip
    if not words[0] or not words[1]:
        aside.append(f"a score of {number:g} tells no task or metric.")
        return
    if max(map(len, words)) > LONGEST:
        aside.append(f"a score of {number:g} is in a niche that begins with {words[0][:100]!r}, "
                     "and whose name is too long.")  # fmt: skip
        return
    niche = Niche(words[0], words[1], words[2])
    when = time_of(at)
    try:
        scores.setdefault(niche, Score(niche, number, at=None if when is None else utc(at)))
    except LineageError as error:
        aside.append(str(error))


def _emissions(repo: str, co2: Any, aside: list[str]) -> list[PowerCost]:
    """`co2_eq_emissions` of a card: grams of CO2 equivalent, or an object with `emissions`
    (hub-docs, model-cards-co2.md)."""
    told = co2 if isinstance(co2, Mapping) else {"emissions": co2}
    try:
        grams = float(told.get("emissions"))  # type: ignore[arg-type]
        if isinstance(co2, bool) or not math.isfinite(grams) or grams < 0:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        aside.append(f"its co2_eq_emissions are no grams: {str(co2)[:100]!r}.")
        return []
    source = told.get("source")
    meter = _UNKEPT.sub("", source).strip()[:LONGEST] if isinstance(source, str) else ""
    return [PowerCost(gco2e=grams, source="declared", meter=meter or None,
                      uuid=emissions_uuid(repo, grams))]  # fmt: skip


def emissions_uuid(repo: str, grams: float) -> str:
    """The UUID of the grams that the card of a repository tells: the same from its listing, from a
    commit and from a copy of it on a disk, so that they count once."""
    return str(uuid.uuid5(POWER_NAMESPACE, f"hf:{repo}/co2_eq_emissions/{grams!r}"))


def _objects(value: Any) -> Iterable[Mapping[str, Any]]:
    held = value if isinstance(value, list) else [value]
    return (one for one in held if isinstance(one, Mapping))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
