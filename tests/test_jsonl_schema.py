"""The JSON Schema of JSON Lines is published in the wheel, and true: what export writes is valid,
what import takes is valid, and what is valid is taken, but for what no schema can say."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sound
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_jsonl import acts, do, exported, imported, numbers

import lineage
from lineage.cli import main
from lineage.formats import line
from lineage.registry import Registry

SCHEMA = json.loads(files("lineage.formats").joinpath("organism.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

WHOLE: dict[str, Any] = {
    "name": "child", "version": 3, "names": [{"name": "other", "version": 1}],
    "digest": "ab" * 32, "kind": "genomic", "ghost": False,
    "places": ["s3://b/x", {"uri": "/runs/x", "host": "h", "gone": "2026-01-01T00:00:00Z",
               "files": [{"path": "w", "bytes": 7, "sha256": "cd" * 32, "genome": True,
                          "modified": -1}]}],
    "parents": ["base", {"ref": "hf:o/r@1", "relation": "merge", "weight": -0.5,
                         "evidence": "hashed", "confidence": 0.5, "needed": True},
                {"name": "aunt", "version": 2}, {"place": "hf:o/r@2"}],
    "fitness": [{"task": "t", "metric": "acc", "split": "test", "value": 0.5, "direction": "higher",
                 "stderr": 0.1, "n": 100, "at": "2026-01-01"}],
    "power": [{"phase": "training", "per": "total", "joules": 3.1, "watts": 1, "seconds": 3.1,
               "cost": 1, "currency": "EUR", "gco2e": 0.1, "source": "measured", "meter": "RAPL",
               "uuid": "6c84fb90-12c4-11e1-840d-7b25c5ee775a", "at": 1.5e9}],
    "parameters": 7, "bytes": 28, "architecture": "llama", "precision": "F32", "licence": "mit",
    "created": 1.5e9, "run": "r", "step": 5, "status": "alive", "protected": True,
    "registered": "2026-01-01T00:00:00+01:00", "tags": {"a": "b", "n": 1, "yes": True},
    "aliases": ["best", "other@good"],
    "events": [{"kind": "registered", "at": "2026-01-01T00:00:00Z", "user": "", "host": "h",
                "pid": 1, "command": "", "body": {"x": [1]}}],
    "rejected": {"line": 1, "reason": "?"},
}  # fmt: skip
"""A line with every key."""

ODD = [None, True, 0, 1, -1, 0.5, 1.0, 2**31, 2**63, 10**9, 10**400, "", " ", "x", "\x00", "#12",
       "ab" * 32, "abcdef01", "2026-01-01", "higher", "merge", "o/r@x", [], ["x"], [None], {},
       {"x": 1}, {"x": None}]  # fmt: skip

BEYOND_A_SCHEMA = re.compile(
    "is not a time|is not a UUID|belongs to a name|cannot be used|no organism|own parent|cycle|"
    "further names: give|is of no name|the direction|holds the alias|nobody|is not registered|"
    "descend from itself|that no place|ambiguous|fits|another name|already"
)
"""Why an import refuses a valid line: it looks at two keys at once, or into the registry."""


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    if isinstance(value, (dict, list)):
        for key, held in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from spots(held)


def changed(line: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The line with one thing taken out, added, or replaced."""
    line = copy.deepcopy(line)
    container, key = chance.choice(list(spots(line)))
    act = chance.choice(["take", "add", "replace", "replace", "replace"])
    if act == "take":
        del container[key]
    elif act == "replace":
        container[key] = chance.choice(ODD)
    elif isinstance(container, dict):
        container[chance.choice(["x", "name", "ref", "text"])] = chance.choice(ODD)
    return line


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Registry]:
    with lineage.open(tmp_path_factory.mktemp("schema") / "r.db", durable=False) as opened:
        yield opened


def test_the_schema_is_a_schema_and_is_in_the_package() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(WHOLE)


def test_the_schema_names_every_key_that_an_import_knows() -> None:
    known = {"name": line.NAME, "place": line.PLACE, "file": line.FILE, "parent": line.PARENT,
             "score": line.SCORE, "power": line.POWER, "event": line.EVENT}  # fmt: skip
    assert SCHEMA["properties"].keys() == line.ORGANISM.keys()
    assert {key: SCHEMA["$defs"][key]["properties"].keys() for key in known} == {
        key: keys.keys() for key, keys in known.items()
    }


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(main, ["export", "--schema"])
    assert json.loads(done.stdout) == SCHEMA
    assert not Path(".lineage").exists()


@settings(max_examples=sound.EXAMPLES, suppress_health_check=list(HealthCheck))
@given(st.lists(acts, min_size=4, max_size=20))
def test_what_export_writes_is_valid(tmp_path: Path, done: list[Any]) -> None:
    with lineage.open(tmp_path / f"{next(numbers)}.db", durable=False) as registry:
        for one in done:
            do(registry, *one)
        for line in exported(registry):
            VALIDATOR.validate(json.loads(line))


@settings(max_examples=sound.EXAMPLES * 10)
@given(st.integers(0, 2**32), st.integers(1, 2))
def test_what_is_valid_is_what_import_takes(registry: Registry, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    line = {key: WHOLE[key] for key in WHOLE if key == "name" or chance.random() < 0.5}
    for _ in range(changes):
        line = changed(line, chance)
    valid = VALIDATOR.is_valid(line)
    report = imported(registry, [line])
    if not report.set_aside:
        assert valid, [error.message for error in VALIDATOR.iter_errors(line)]
    elif valid:
        reasons = [one.reason for one in report.first]
        assert all(map(BEYOND_A_SCHEMA.search, reasons)), (reasons, line)
