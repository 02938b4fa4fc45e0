"""The Hub: models in and cards out, with the real client against a Hub of our own. Whatever
strangers write on a card, what can be used comes in, and the rest is set aside with a reason."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from hub_server import TOKEN, World, rows, serving, weights
from hypothesis import given
from hypothesis import strategies as st

import lineage
from lineage.errors import InvalidValue, LineageError
from lineage.hub import pull
from lineage.hub.client import HubUnavailable, NoAccess
from lineage.hub.rows import read


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def hub() -> Iterator[World]:
    """A small family: base → ft → (lora, gguf), and a merge of ft and other."""
    world = World()
    world.add("org/base", siblings=weights("base", "base 2"))
    world.add("org/other", siblings=weights("other"))
    world.add("me/ft", "org/base", relation="finetune", siblings=weights("ft"))
    world.add("me/lora", "me/ft", relation="adapter")
    world.add("you/gguf", "me/ft", relation="quantized", siblings=weights("gguf", suffix="gguf"))
    world.add("you/merge", "me/ft", "org/other", relation="merge")
    with serving(world, page=2) as served:
        yield served


def parents(registry: lineage.Registry, ref: str) -> dict[str, str]:
    return {link.parent.name or "": link.relation for link in registry.record(ref).parents}


# ---- one model and its relatives


def test_a_model_with_its_ancestors(hub: World, registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        done = registry.hub_pull("you/merge", ancestors=True, endpoint=hub.url)
        assert (done.seen, done.created, done.set_aside) == (4, 4, 0)
        assert parents(registry, "you/merge") == {"me/ft": "merge", "org/other": "merge"}
        assert parents(registry, "me/ft") == {"org/base": "finetune"}
        assert {one.name for one in registry.ancestors("you/merge")} == {
            "me/ft", "org/base", "org/other"}  # fmt: skip
        assert not any(one.ghost for one in registry.find(ghosts=True))
        again = registry.hub_pull("you/merge", ancestors=True, endpoint=hub.url)
        assert (again.created, again.updated, again.unchanged) == (0, 0, 4)


def test_digests_come_without_a_download(hub: World, tmp_path: Path) -> None:
    """One weight file: its SHA-256; several: the SHA-256 of the sorted digests, one a line."""
    with lineage.open(tmp_path / "r.db") as registry:
        registry.hub_pull("me/ft", "org/base", endpoint=hub.url)
        assert registry.get("me/ft").digest == hashlib.sha256(b"ft").hexdigest()
        lines = sorted(hashlib.sha256(one).hexdigest() + "\n" for one in (b"base", b"base 2"))
        assert registry.get("org/base").digest == hashlib.sha256(
            "".join(lines).encode()).hexdigest()  # fmt: skip
        assert registry.get("org/base").bytes == 2000
        sha = hub.models["me/ft"]["sha"]
        assert registry.get(f"hf:me/ft@{sha}") == registry.get("hf:me/ft")
        assert not any("/resolve/" in path for path in hub.asked)


def test_files_on_disk_and_on_the_hub_are_one_organism(hub: World, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.pt").write_bytes(b"ft")
    with lineage.open(tmp_path / "r.db") as registry:
        mine = registry.register(tmp_path / "mine", name="mine")
        registry.hub_pull("me/ft", endpoint=hub.url)
        assert registry.get("me/ft").id == mine.id
        assert len(registry.record(mine).places) == 2


def test_descendants_to_a_depth(hub: World, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "one.db") as registry:
        registry.hub_pull("org/base", descendants=True, depth=1, endpoint=hub.url)
        assert [one.name for one in registry.descendants("org/base")] == ["me/ft"]
    with lineage.open(tmp_path / "all.db") as registry:
        registry.hub_pull("org/base", descendants=True, endpoint=hub.url)
        assert {one.name for one in registry.descendants("org/base")} == {
            "me/ft", "me/lora", "you/gguf", "you/merge"}  # fmt: skip


def test_removed_and_gated_ancestors_stay_ghosts_and_are_told(tmp_path: Path) -> None:
    world = World(gated={"meta/llama"})
    world.add("me/a", "gone/base", "meta/llama", relation="merge")
    with serving(world), lineage.open(tmp_path / "r.db") as registry:
        done = registry.hub_pull("me/a", ancestors=True, endpoint=world.url)
        assert "removed, private" in done.missing["gone/base"]
        assert "gated" in done.missing["meta/llama"]
        assert registry.get("gone/base").ghost
        (link, _) = registry.record("me/a").parents
        assert link.evidence[0].evidence == "declared"
        assert not done.missing["gone/base"].startswith("gone/base")
        with pytest.raises(NoAccess, match="no such repository"):
            registry.hub_pull("gone/base", endpoint=world.url)
        # it comes back: the ghost is taken
        world.add("gone/base")
        registry.hub_pull("gone/base", endpoint=world.url)
        assert not registry.get("gone/base").ghost
        assert parents(registry, "me/a") == {"gone/base": "merge", "meta/llama": "merge"}


def test_one_that_is_not_shown_keeps_none_of_the_others_out(hub: World, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        with pytest.raises(NoAccess, match=r"gone/base: .* What else was asked for is in\."):
            registry.hub_pull("me/lora", "gone/base", "org/base", ancestors=True, endpoint=hub.url)
        assert not any(registry.get(one).ghost for one in ("me/lora", "me/ft", "org/base"))
        assert registry.find("gone/base", ghosts=True) == []


def test_a_renamed_ancestor_is_linked_under_its_new_name(tmp_path: Path) -> None:
    world = World(renamed={"old/base": "new/base"})
    world.add("new/base")
    world.add("me/a", "old/base", relation="finetune")
    with serving(world), lineage.open(tmp_path / "r.db") as registry:
        done = registry.hub_pull("me/a", ancestors=True, endpoint=world.url)
        assert done.renamed == {"old/base": "new/base"}
        assert parents(registry, "me/a") == {"new/base": "finetune"}


def test_what_waited_for_a_repository_is_what_is_pulled(hub: World, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        registry.register(name="child", digest="ab" * 32, parents="hf:me/ft")
        registry.hub_pull("me/ft", endpoint=hub.url)
        assert parents(registry, "child") == {"me/ft": "finetune"}
        assert not registry.get("hf:me/ft").ghost


# ---- what strangers write


def test_what_a_card_cannot_mean_is_set_aside_and_the_rest_comes_in(tmp_path: Path) -> None:
    world = World()
    world.add("me/local", cardData={"base_model": "./out/checkpoint-500"})
    world.add("me/self", "me/self", relation="finetune")
    world.add("me/merge-of-one", "org/base", relation="merge")
    world.add("me/a", "me/b", relation="finetune")
    world.add("me/b", "me/a", relation="finetune")
    world.add("me/fine", cardData={"base_model": ["org/base", None, 7], "license": ["mit", "x"]})
    with serving(world), lineage.open(tmp_path / "r.db") as registry:
        done = registry.hub_pull_list(author="me", endpoint=world.url)
        reasons = dict(done.first)
        assert done.created == 6
        assert "no repository of the Hub" in reasons["me/local"]
        assert "names itself" in reasons["me/self"]
        assert "two parents or more" in reasons["me/merge-of-one"]
        assert sum("descends from it" in reason for reason in reasons.values()) == 1  # the cycle
        assert parents(registry, "me/fine") == {"org/base": "finetune"}
        assert registry.get("me/fine").licence == "mit, x"


def test_what_a_card_declares(tmp_path: Path) -> None:
    world = World()
    index = [{"name": "m", "results": [{
        "task": {"type": "text-generation"},
        "dataset": {"type": "ai2_arc", "config": "ARC-Challenge", "split": "test", "name": "ARC"},
        "metrics": [{"type": "acc_norm", "value": "61.5"}, {"type": "acc", "value": "n/a"},
                    {"type": "huge", "value": 10**400}],
    }]}]  # fmt: skip
    world.add(
        "me/a", downloads=12, gated="auto",
        cardData={"model-index": index, "new_version": "me/a-v2", "co2_eq_emissions":
                  {"emissions": 123.0, "source": "codecarbon", "training_type": "fine-tuning"}},
        safetensors={"parameters": {"BF16": 900, "F32": 100}, "total": 1000},
        config={"architectures": ["LlamaForCausalLM"]},
        siblings=[*weights("a"), {"rfilename": ".eval_results/x.yaml", "size": 1}],
        evalResults=[{"dataset": {"id": "cais/hle", "task_id": "default"}, "value": 20.9,
                      "date": "2025-01-15"}],
    )  # fmt: skip
    with serving(world), lineage.open(tmp_path / "r.db") as registry:
        for _ in range(2):  # emissions are counted once
            done = registry.hub_pull("me/a", endpoint=world.url)
        record = registry.record("me/a")
    one = record.organism
    assert (one.parameters, one.precision, one.architecture, one.licence) == (
        1000, "BF16", "LlamaForCausalLM", "mit")  # fmt: skip
    scores = {(str(s.niche), s.value, s.direction) for s in record.scores}
    assert scores == {
        ("ai2_arc:ARC-Challenge/acc_norm (test)", 61.5, "higher"),
        ("cais/hle/score", 20.9, "higher"),
    }
    (cost,) = record.power
    assert (cost.gco2e, cost.source, cost.meter, cost.joules) == (
        123.0, "declared", "codecarbon", None)  # fmt: skip
    assert record.tags == {"downloads": "12", "superseded_by": "me/a-v2", "gated": "auto"}
    assert "no number" in done.first[0][1]


def test_emissions_count_once_from_the_hub_and_from_its_cache(tmp_path: Path) -> None:
    world = World()
    world.add("me/a", cardData={"co2_eq_emissions": 123})
    commit = hashlib.sha1(b"me/a").hexdigest()
    folder = tmp_path / "hub/models--me--a/snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    (folder / "README.md").write_text("---\nco2_eq_emissions:\n  emissions: 123.0\n---\n")
    with serving(world), lineage.open(tmp_path / "r.db") as registry:
        registry.scan(tmp_path / "hub", apply=True)
        registry.hub_pull("me/a", endpoint=world.url)
        assert registry.count() == 1
        (cost,) = registry.record(f"hf:me/a@{commit}").power
    assert cost.gco2e == 123


def test_tags_that_tell_of_today_are_brought_up_to_date(hub: World, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        registry.hub_pull("me/ft", endpoint=hub.url)
        hub.models["me/ft"]["downloads"] = 99
        done = registry.hub_pull("me/ft", endpoint=hub.url)
        assert done.updated == 1
        assert registry.record("me/ft").tags["downloads"] == "99"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = ("sha", "tags", "createdAt", "lastModified", "downloads", "safetensors", "gguf", "gated",
          "siblings", "config", "evalResults")  # fmt: skip
CARD = ("base_model", "base_model_relation", "license", "model-index", "co2_eq_emissions",
        "new_version")  # fmt: skip


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)),
       JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(CARD, JSON)))  # fmt: skip
def test_no_row_stops_a_pull(row: dict[str, object], card: object) -> None:
    report = pull.Pulled()
    found = list(pull.read_all([{"id": "a/b", "cardData": card, **row}], report))
    assert len(found) + report.set_aside >= 1


def test_tags_give_each_parent_once_and_keep_colons() -> None:
    tags = ["base_model:a/b", "base_model:quantized:a/b", "base_model:c/d"]
    new = read({"id": "me/x", "tags": tags}).new
    assert [(one.ref, one.relation) for one in new.parents] == [
        ("a/b", "quantized"), ("c/d", "quantized")]  # fmt: skip


# ---- lists


def many(count: int) -> World:
    world = World()
    for row in rows(count, random.Random(3)):
        world.models[row["id"]] = row
    return world


def test_a_whole_hub_in_pages(registry_url: str) -> None:
    world = many(60)
    with serving(world, page=7), lineage.open(registry_url) as registry:
        done = registry.hub_pull_list(endpoint=world.url)
        assert (done.seen, done.created) == (60, 60)
        assert registry.count() == 60
        lists = [path for path in world.asked if path.startswith("/api/models?")]
        assert len(lists) == 9
        assert not any("baseModels" in path for path in lists)
        again = registry.hub_pull_list(endpoint=world.url)
        assert (again.created, again.updated, again.unchanged) == (0, 0, 60)


def test_since_last_asks_for_what_changed_only(tmp_path: Path) -> None:
    world = many(60)
    with serving(world, page=7), lineage.open(tmp_path / "r.db") as registry:
        with pytest.raises(InvalidValue, match="no pull of this list has come to its end"):
            registry.hub_pull_list(since="last", endpoint=world.url)
        registry.hub_pull_list(endpoint=world.url)
        world.asked.clear()
        world.add("me/new", lastModified="2026-05-01T00:00:00Z")
        done = registry.hub_pull_list(since="last", endpoint=world.url)
        assert done.created == 1
        assert len(world.asked) == 1
        assert not registry.get("me/new").ghost
        later = registry.hub_pull_list(since="2026-01-01", endpoint=world.url)
        assert later.seen == 1


def test_a_pull_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "BATCH", 10)
    world = many(60)
    with serving(world, page=10), lineage.open(tmp_path / "r.db") as registry:
        world.broken_after = 3
        with pytest.raises(HubUnavailable, match="refused"):
            registry.hub_pull_list(endpoint=world.url)
        assert registry.count() == 30
        world.broken_after = None
        world.asked.clear()
        done = registry.hub_pull_list(endpoint=world.url)
        assert done.resumed
        assert done.seen == 30
        assert len(world.asked) == 3
        assert registry.count() == 60
        assert registry.hub_pull_list(since="last", endpoint=world.url).created == 0


def test_a_cursor_that_the_hub_forgot_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "BATCH", 10)
    world = many(30)
    with serving(world, page=10), lineage.open(tmp_path / "r.db") as registry:
        world.broken_after = 1
        with pytest.raises(HubUnavailable):
            registry.hub_pull_list(endpoint=world.url)
        world.broken_after = None
        with registry.database.write() as connection:
            connection.execute("UPDATE crawl SET cursor = replace(cursor, 'cursor=10', 'cursor=x')")
        done = registry.hub_pull_list(endpoint=world.url)
        assert not done.resumed
        assert registry.count() == 30


def test_a_list_with_digests(hub: World, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        registry.hub_pull_list(author="org", digests=True, endpoint=hub.url)
        assert registry.get("org/other").digest == hashlib.sha256(b"other").hexdigest()


def test_a_list_with_digests_that_was_cut_off_keeps_each_page(tmp_path: Path) -> None:
    """A page with digests is as many requests as it has models: nobody asks for them twice."""
    world = many(30)
    told: list[int] = []
    with serving(world, page=10), lineage.open(tmp_path / "r.db") as registry:
        world.broken_after = 2
        with pytest.raises(HubUnavailable):
            registry.hub_pull_list(digests=True, endpoint=world.url, progress=told.append)
        assert registry.count() == 20
        assert told[:3] == [1, 2, 3]
        world.broken_after = None
        done = registry.hub_pull_list(digests=True, endpoint=world.url)
        assert (done.resumed, done.seen) == (True, 10)


def test_what_the_hub_refuses_is_told_in_its_words(hub: World, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        for status, way in ((401, "hf auth login"), (418, "")):
            hub.refusals = [status]
            with pytest.raises(HubUnavailable) as told:
                registry.hub_pull_list(endpoint=hub.url)
            said = f"the Hub refused to give the list of models: slow down (HTTP {status})."
            assert str(told.value).startswith(said)
            assert way in str(told.value)
            assert told.value.status == status


def test_when_told_to_slow_down_it_waits_and_goes_on(hub: World, tmp_path: Path) -> None:
    hub.refusals = [429, 429, 503]
    with lineage.open(tmp_path / "r.db") as registry:
        assert registry.hub_pull_list(author="me", endpoint=hub.url).created == 2


def test_a_line_that_breaks_is_tried_again_once_the_hub_has_answered(
    hub: World, tmp_path: Path
) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        hub.refusals = [0]
        with pytest.raises(HubUnavailable, match="could not be reached"):
            registry.hub_pull("you/merge", ancestors=True, endpoint=hub.url)
        assert len(hub.asked) == 1
        hub.refusals = [429, 200, 0, 200, 0]
        done = registry.hub_pull("you/merge", ancestors=True, endpoint=hub.url)
        assert done.created == 4


def test_a_link_to_another_host_takes_no_token_there(hub: World, tmp_path: Path) -> None:
    hub.link_host = hub.url.removeprefix("http://").replace("127.0.0.1", "localhost")
    with lineage.open(tmp_path / "r.db") as registry:
        assert registry.hub_pull_list(endpoint=hub.url).created == 6
    assert hub.tokens_elsewhere == []


def test_what_is_no_hub_is_told(hub: World, tmp_path: Path) -> None:
    hub.cards["api/models"] = "<html>a page of a proxy</html>"  # answers for every path below /cdn
    with lineage.open(tmp_path / "r.db") as registry:
        with pytest.raises(HubUnavailable, match="is no Hub"):
            registry.hub_pull_list(endpoint=f"{hub.url}/cdn")
        hub.cards["api/models/me/ft"] = '{"it": "is JSON"}'
        with pytest.raises(HubUnavailable, match="is no Hub"):
            registry.hub_pull("me/ft", ancestors=True, endpoint=f"{hub.url}/cdn")
        hub.add("me/when", lastModified="yesterday")
        assert registry.hub_pull_list(since="2020-01-01", endpoint=hub.url).created == 7


def test_what_was_pulled_is_in_the_history(hub: World, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db", command="tests") as registry:
        registry.hub_pull("me/ft", endpoint=hub.url)
        with registry.database.read() as connection:
            body = connection.value("SELECT body FROM event WHERE kind = 'pulled'")
    assert json.loads(body)["created"] == 1


# ---- a dump


def test_a_dump_says_what_the_hub_says(registry_url: str, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    listed = list(rows(300, random.Random(5)))
    table = [{**row, "cardData": json.dumps(row["cardData"]), "safetensors":
              json.dumps(row.get("safetensors"))} for row in listed]  # fmt: skip
    table += [{**table[0], "id": "no id at all"}]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "hub.parquet")
    with lineage.open(registry_url) as registry:
        done = registry.hub_dump(tmp_path / "hub.parquet")
        assert (done.seen, done.created, done.set_aside) == (301, 300, 1)
        row = next(row for row in listed if "safetensors" in row and len(row["tags"]) > 4)
        assert registry.get(row["id"]).parameters == 7_000_000_000
        named = {tag.split(":")[-1] for tag in row["tags"] if tag.startswith("base_model:")}
        assert set(parents(registry, row["id"])) == named
        assert registry.hub_dump(tmp_path / "hub.parquet").unchanged == 300


def test_what_one_column_cannot_say_keeps_no_row_out(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = [{"results": [{"dataset": {"type": "d" * 9000}, "metrics": [{"type": "m", "value": 1}]},
                          {"dataset": {"type": "d"}, "metrics": [{"type": "m", "value": 1}]}]}]
    row = {"id": "me/a", "lastModified": 5, "createdAt": "2024-01-01",
           "cardData": json.dumps({"model-index": index})}
    pq.write_table(pa.Table.from_pylist([row, {"id": "x" * 9000}]), tmp_path / "hub.parquet")
    with lineage.open(tmp_path / "r.db") as registry:
        done = registry.hub_dump(tmp_path / "hub.parquet")
        assert done.created == 1
        assert [str(one.niche) for one in registry.record("me/a").scores] == ["d/m"]
        assert sorted(len(reason) < 400 for _, reason in done.first) == [True, True]


def test_a_dump_that_is_damaged_is_told_with_where(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows(300, random.Random(5))))
    pq.write_table(table.select(["id", "sha"]), tmp_path / "hub.parquet", row_group_size=100)
    written = bytearray((tmp_path / "hub.parquet").read_bytes())
    third = pq.ParquetFile(tmp_path / "hub.parquet").metadata.row_group(2).column(0)
    start = third.dictionary_page_offset
    written[start : start + 500] = b"\xff" * 500
    (tmp_path / "hub.parquet").write_bytes(written)
    with (
        lineage.open(tmp_path / "r.db") as registry,
        pytest.raises(InvalidValue, match=r"hub.parquet is damaged after row \d+: .* anew"),
    ):
        registry.hub_dump(tmp_path / "hub.parquet")


def test_a_file_that_is_no_dump_is_told(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_text("no")
    with lineage.open(tmp_path / "r.db") as registry:
        with pytest.raises(InvalidValue, match="no column `id`"):
            registry.hub_dump(tmp_path / "x.parquet")
        with pytest.raises(InvalidValue, match="is not Parquet"):
            registry.hub_dump(tmp_path / "y.parquet")
        with pytest.raises(LineageError, match="there is no file"):
            registry.hub_dump(tmp_path / "z.parquet")


# ---- cards

CARD_TEXT = """\
---
license: mit   # as asked
language:
- en
base_model: wrong/base
model-index:
- name: FT
  results:
  - task: {type: text-generation}
    dataset: {type: gsm8k, name: gsm8k}
    metrics:
    - {type: acc, value: 0.1}
  - task: {type: text-generation}
    dataset: {type: mmlu, name: mmlu}
    metrics:
    - {type: acc, value: 0.5}
---
# FT

Words of the author.
"""


def test_a_push_shows_a_diff_and_sends_nothing(hub: World, tmp_path: Path) -> None:
    hub.cards["me/ft"] = CARD_TEXT
    with lineage.open(tmp_path / "r.db") as registry:
        registry.hub_pull("me/ft", ancestors=True, descendants=True, endpoint=hub.url)
        registry.score("me/ft", "gsm8k/acc", 0.61)
        made = registry.hub_push_plan("me/ft", endpoint=hub.url)
        assert hub.commits == []
        assert "-base_model: wrong/base\n+base_model: org/base\n" in made.diff
        assert "base_model_relation: finetune" in made.after
        assert "license: mit   # as asked\n" in made.after  # other lines stay as they are
        assert "-license" not in made.diff
        assert "Words of the author." in made.after
        assert "org/base\n  me/ft  ← this model\n    you/merge\n" in made.after
        assert "\n    me/lora\n" in made.after
        assert hub.tokens_elsewhere == []

        done = registry.hub_push("me/ft", endpoint=hub.url)
        (commit,) = hub.commits
        assert commit["pull_request"]
        assert commit["files"] == {"README.md": made.after}
        assert done.url == f"{hub.url}/me/ft/discussions/1"
        assert registry.history("me/ft")[-1].kind == "pushed"
        hub.cards["me/ft"] = made.after
        assert registry.hub_push_plan("me/ft", endpoint=hub.url).diff == ""


def test_no_transaction_is_open_while_the_card_is_fetched(hub: World, tmp_path: Path) -> None:
    class Watched(dict[str, str]):
        def __contains__(self, key: object) -> bool:
            open_then.append(held.raw.in_transaction)
            return super().__contains__(key)

    open_then: list[bool] = []
    hub.cards = Watched({"me/ft": CARD_TEXT})
    with lineage.open(tmp_path / "r.db") as registry:
        registry.hub_pull("me/ft", endpoint=hub.url)
        held = registry.database.connection
        registry.hub_push("me/ft", endpoint=hub.url)
    assert open_then == [False]


def test_what_was_pushed_is_pulled_again(hub: World, tmp_path: Path) -> None:
    """Scores, emissions, parents and relation survive the way over the card."""
    import yaml

    with lineage.open(tmp_path / "r.db") as registry:
        registry.hub_pull("me/ft", endpoint=hub.url)
        registry.score("me/ft", "ai2_arc:Easy/acc", 0.61, split="test")
        registry.meter("me/ft", lineage.PowerCost(gco2e=5.5, source="measured"))
        registry.hub_push("me/ft", direct=True, endpoint=hub.url)
        (commit,) = hub.commits
        assert not commit["pull_request"]
    front = yaml.safe_load(commit["files"]["README.md"].split("---\n")[1])
    new = read({"id": "me/ft", "cardData": front}).new
    assert [(str(one.niche), one.value) for one in new.scores] == [
        ("ai2_arc:Easy/acc (test)", 0.61)]  # fmt: skip
    assert [(one.ref, one.relation) for one in new.parents] == [("org/base", "finetune")]
    assert new.power[0].gco2e == 5.5


def test_names_cannot_break_out_of_the_card(hub: World, tmp_path: Path) -> None:
    evil = "x```\n<!-- /lineage --><script>alert(1)</script>"
    with lineage.open(tmp_path / "r.db") as registry:
        registry.hub_pull("org/other", endpoint=hub.url)
        registry.register(name=evil, digest="cd" * 32, parents="org/other")
        after = registry.hub_push_plan("org/other", endpoint=hub.url).after
    assert after.count("```") == 2
    assert after.count("<!-- /lineage -->") == 1
    assert after.rstrip().endswith("<!-- /lineage -->")


def test_what_a_card_cannot_say_is_told(hub: World, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        registry.register(name="teacher", digest="ef" * 32)
        registry.hub_pull("org/other", endpoint=hub.url)
        registry.link("org/other", "teacher", "distill")
        made = registry.hub_push_plan("org/other", endpoint=hub.url)
        assert any("teacher" in one for one in made.left_out)
        registry.register(name="nowhere", digest="aa" * 32)
        with pytest.raises(InvalidValue, match="no place on the Hub"):
            registry.hub_push_plan("nowhere", endpoint=hub.url)


# ---- the command, and what never dials out


def command(*args: str, url: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "cli.py", *args],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1",
             "LINEAGE_DB": "r.db", "HF_HOME": os.path.abspath("hf"), **env},
    )  # fmt: skip


def test_the_commands(hub: World) -> None:
    done = command("hub", "pull", "you/merge", "--ancestors", url=hub.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 models read: 4 new")
    listed = command("log", "--all", "--limit", "1")
    assert "you/merge; 4 models read, 4 new, 0 gained something, 0 set aside" in listed.stdout
    nobody = command("hub", "pull", "--author", "nobody", url=hub.url)
    assert (nobody.returncode, nobody.stdout) == (0, "No model fits that: nothing was read.\n")
    told = command("hub", "pull", "--author", "me", "--json", url=hub.url)
    assert json.loads(told.stdout)["seen"] == 2
    hub.cards["me/ft"] = CARD_TEXT
    plan = command("hub", "push", "me/ft", url=hub.url)
    assert "+base_model: org/base" in plan.stdout
    assert "nothing was sent" in plan.stderr
    sent = command("hub", "push", "me/ft", "--apply", url=hub.url)
    assert sent.stdout == f"Sent to me/ft: {hub.url}/me/ft/discussions/1\n"


@pytest.mark.parametrize("args", [
    (), ("a/b", "--all"), ("--all", "--author", "me"), ("--all", "--ancestors"),
    ("a/b", "--since", "last"), ("a/b", "--depth", "2"), ("a b c",),
])  # fmt: skip
def test_wrong_usage(args: tuple[str, ...]) -> None:
    assert command("hub", "pull", *args).returncode == 2


def test_a_hub_that_is_not_there_is_a_sentence_and_no_wait() -> None:
    code = (
        "import time\n"
        "def wait(_): raise SystemExit('WAITED')\n"
        "time.sleep = wait\n"
        "from lineage.cli import main; main(['hub', 'pull', 'a/b'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "LINEAGE_DB": "r.db",
             "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "could not be reached" in done.stderr
    assert "Check the network" in done.stderr
    assert len(done.stderr.splitlines()) == 2  # the registry that was made, and the sentence


def test_offline_the_hub_says_so_and_all_else_works(hub: World, tmp_path: Path) -> None:
    """With HF_HUB_OFFLINE=1 the client refuses every request. Sockets are refused besides, so that
    a command that dials out by another way fails too."""
    refused = command("hub", "pull", "me/ft", url=hub.url, HF_HUB_OFFLINE="1")
    assert refused.returncode == 1
    assert "HF_HUB_OFFLINE is set" in refused.stderr
    (tmp_path / "w.pt").write_bytes(b"weights")
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('DIALLED OUT')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from lineage.cli import main\n"
        "main(sys.argv[1:])"
    )
    for args in (
        ["init"], ["register", "w.pt", "--name", "hf-like/child", "--parent", "hf:org/base"],
        ["ls"], ["show", "hf-like/child"], ["tree"], ["tree", "--format", "html"], ["select"],
        ["export"], ["doctor"], ["ancestors", "hf-like/child"],
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "LINEAGE_DB": "r.db",
                 "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        assert "DIALLED OUT" not in done.stderr
        assert "Traceback" not in done.stderr
    assert [path for path in hub.asked if "me/ft" in path] == []
