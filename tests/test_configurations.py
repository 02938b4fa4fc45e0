"""What is promised of configurations: shared ones are written once, they go through export and
import, and a comparison of two organisms tells what differs in them, in files and in data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sound
from click.testing import CliRunner

import lineage
from lineage import configurations
from lineage.cli import main
from lineage.errors import InvalidValue
from lineage.formats import jsonl
from lineage.registry import Registry


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    with lineage.open(registry_url) as opened:
        yield opened
        sound.check(opened)
        assert opened.doctor().sound


def save(folder: Path, weights: bytes, config: Any = None, **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(weights)
    if config is not None:
        written = config if isinstance(config, str) else json.dumps(config)
        (folder / "config.json").write_text(written)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def documents(registry: Registry) -> int:
    with registry.database.read() as connection:
        return int(connection.value("SELECT count(*) FROM document"))


def of(registry: Registry, ref: str) -> dict[str, Any]:
    with registry.database.read() as connection:
        return configurations.read(connection, [registry.get(ref).id]).get(registry.get(ref).id, {})


def test_what_many_share_is_written_once(registry: Registry, tmp_path: Path) -> None:
    config = {"architectures": ["Llama"], "hidden_size": 8, "rope": {"theta": 1e4}}
    for name in "abc":
        registry.register(save(tmp_path / name, name.encode(), config), name=name)
    same = dict(reversed(config.items()))
    registry.register_many(
        {"name": f"d{n}", "configuration": {"model": same, "training": {"lr": n}}} for n in range(3)
    )
    assert of(registry, "a") == {"model": config}
    assert documents(registry) == 4
    again = registry.register(name="d1", configuration={"model": {"other": 1}, "training": {}})
    assert of(registry, "d1") == {"model": config, "training": {"lr": 1}}
    digest = registry.get("a").digest
    registry.register(name="a", digest=digest, configuration={"training": {"x": 2}})
    assert [event.kind for event in registry.history("a")] == ["registered", "configured"]
    assert again.name == "d1"


@pytest.mark.parametrize("config", ["[1]", "{", '{"a": NaN}', '{"a": "\\u0000"}', "null"])
def test_a_config_file_that_cannot_be_kept_stops_nothing(
    registry: Registry, tmp_path: Path, config: str
) -> None:
    registry.register(save(tmp_path / "a", b"a", config), name="a")
    assert of(registry, "a") == {}


@pytest.mark.parametrize(
    "wrong", [{"model": [1]}, {"training": {"a": float("nan")}}, {"training": {"a": object()}},
              {"else": {"a": 1}}, {"training": {"a": "x" * (1 << 20)}}, {"training": {"a": "\x00"}}]
)  # fmt: skip
def test_what_is_no_configuration_is_said(registry: Registry, wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="configuration"):
        registry.register(name="a", configuration=wrong)
    assert registry.count() == 0


def test_two_that_become_one_keep_what_each_was_configured_with(registry: Registry) -> None:
    registry.register(place="hf:org/a@v1", configuration={"model": {"a": 1}, "training": {"lr": 1}})
    registry.register(name="twin", digest="ab" * 32, configuration={"model": {"a": 2}})
    registry.register(name="twin", digest="ab" * 32, place="hf:org/a@v1")
    assert of(registry, "twin") == {"model": {"a": 2}, "training": {"lr": 1}}


def test_configurations_go_through_export_and_import(registry: Registry, tmp_path: Path) -> None:
    given = {"model": {"ö": [1, 2.5, None]}, "training": {"b": 1}}
    registry.register(name="a", configuration=given)
    with registry.database.read() as connection:
        lines = list(jsonl.export(connection))
    with lineage.open(tmp_path / "copy.db") as copy:
        assert jsonl.import_lines(copy.store, lines).created == 1
        assert of(copy, "a") == of(registry, "a")
        assert jsonl.import_lines(copy.store, lines).unchanged == 1
        with copy.database.read() as connection:
            assert list(jsonl.export(connection)) == lines
        bad = '{"name": "b", "configuration": {"model": 3}}'
        assert jsonl.import_lines(copy.store, [bad]).set_aside == 1


def test_a_comparison_tells_files_keys_and_data_sets(registry: Registry, tmp_path: Path) -> None:
    one = {"layers": 4, "rope": {"theta": 1}, "same": True}
    other = {"layers": 8, "rope": {"theta": 1, "scaling": [1]}, "same": True}
    registry.register(
        save(tmp_path / "a", b"a", one, tokenizer_json="x", vocab_txt="v"),
        name="a",
        fitness=[lineage.Score("x/acc", 0.5, stderr=0.03)],
        configuration={"training": {"lr": 0.1, "datasets": ["gsm8k", {"name": "code"}]}},
    )
    registry.register(
        save(tmp_path / "b", b"bb", other, tokenizer_json="x", extra_txt="e"),
        name="b",
        fitness=[lineage.Score("x/acc", 0.75, stderr=0.04)],
        configuration={"training": {"lr": 0.2}},
        tags={"datasets": "prose, code"},
    )
    found = registry.diff("a", "b")
    (niche,) = found.niches
    assert (niche.delta, niche.stderr) == (0.25, pytest.approx(0.05))
    changed = {x.path: (x.a is not None, x.b is not None) for x in found.files}
    assert changed == {
        "config.json": (True, True),
        "extra.txt": (False, True),
        "model.bin": (True, True),
        "vocab.txt": (True, False),
    }
    assert [(x.kind, x.key, x.a, x.b) for x in found.configuration] == [
        ("model", "layers", "4", "8"),
        ("model", "rope.scaling", None, "[1]"),
        ("training", "datasets", '["gsm8k",{"name":"code"}]', None),
        ("training", "lr", "0.1", "0.2"),
    ]
    assert found.data_sets == (("gsm8k", "code"), ("prose", "code"))
    same = registry.diff("a", "a")
    assert (same.files, same.configuration) == ((), ())


def test_the_terminal_tells_what_differs(tmp_path: Path) -> None:
    db = str(tmp_path / "r.db")
    with lineage.open(db) as registry:
        for name, lr in (("a", 1), ("b", 2)):
            registry.register(name=name, configuration={"training": {"lr": lr, "x\x1b[1m": lr}})
    ask = lambda *args: CliRunner().invoke(main, ["diff", "a", "b", *args, "--db", db])  # noqa: E731
    told = ask().output
    assert "training lr\t1\t2\t\n" in told
    assert "\x1b" not in told
    assert json.loads(ask("--json").output)["configuration"][0]["key"] == "lr"
