"""What happens to what is registered: united and never overwritten, named in versions, waited for
by ghosts, scored and metered once, and told by the history. On SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses
import getpass
import itertools
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sound
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lineage
from lineage import ledger
from lineage.errors import Ambiguous, CycleError, InvalidValue, LineageError, NotFound
from lineage.organism import Niche
from lineage.references import at_place, place_hash
from lineage.registry import Registry

A, B, C = "aa" * 32, "bb" * 32, "cc" * 32
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    """An empty registry; whatever was done to it, it is sound after the test."""
    with lineage.open(registry_url) as opened:
        yield opened
        sound.check(opened)


def kinds(registry: Registry, ref: Any) -> list[str]:
    return [event.kind for event in registry.history(ref)]


# ---- One organism, whatever it is called


def test_the_same_weights_are_one_organism_and_everything_is_united(registry: Registry) -> None:
    first = registry.register(
        name="base", digest=A, place="/w/base", parents="root", tags={"team": "prose"},
        fitness={"gsm8k/acc": 0.5}, parameters=10, licence="mit",
    )  # fmt: skip
    again = registry.register(
        name="copy", digest=A, place=["/w/copy", "hf:org/copy@main"], parents="other",
        tags={"team": "code", "year": "2026"}, fitness={"mmlu/acc": 0.6}, parameters=99,
        architecture="llama", aliases="best",
    )  # fmt: skip
    assert again.id == first.id
    known = registry.record("base")
    assert known == registry.record("copy")
    assert known.names == (("base", 1), ("copy", 1))
    assert [place.uri for place in known.places] == ["/w/base", "/w/copy", "hf:org/copy@main"]
    assert sorted(link.parent.name for link in known.parents) == ["other", "root"]
    assert known.tags == {"team": "prose", "year": "2026"}
    assert {str(score.niche): score.value for score in known.scores} == {
        "gsm8k/acc": 0.5, "mmlu/acc": 0.6,
    }  # fmt: skip
    # what was known is not overwritten, what was not is filled in
    assert (again.parameters, again.licence, again.architecture) == (10, "mit", "llama")
    assert registry.get("copy@best").id == first.id
    assert len(registry.find()) == 1


def test_one_organism_may_have_many_of_everything(registry: Registry) -> None:
    names, many = [f"parent-{n}" for n in range(60)], range(60)
    own = registry.register(
        name="many", digest=A, parents=names, tags={f"t{n}": str(n) for n in many},
        fitness={f"task-{n}/acc": n / 60 for n in many}, place=[f"/w/{n}" for n in many],
        power=[lineage.PowerCost(joules=n) for n in many],
    )  # fmt: skip
    known = registry.record(own)
    counts = (known.parents, known.tags, known.scores, known.places, known.power)
    assert [len(one) for one in counts] == [60] * 5


def test_registering_twice_changes_nothing(registry: Registry) -> None:
    values = dict(
        name="base", digest=A, place="/w/base", parents="root", tags={"a": "b"}, aliases="best",
        fitness={"gsm8k/acc": 0.5}, power=lineage.PowerCost(joules=5.0), parameters=10,
    )  # fmt: skip
    registry.register(**values)
    before = registry.record("base")
    registry.register(**values)
    assert registry.record("base") == before
    outcome = registry.register_many([values, values])
    assert (outcome.created, outcome.updated, outcome.unchanged) == (0, 0, 2)


def test_other_weights_under_a_name_are_its_next_version(registry: Registry) -> None:
    first = registry.register(name="run", digest=A)
    second = registry.register(name="run", digest=B)
    assert (first.ref, second.ref) == ("run@v1", "run@v2")
    assert (str(first), str(second)) == ("run", "run@v2")
    assert registry.get("run").id == second.id
    assert registry.get("run@latest").id == second.id
    assert registry.get("run@v1").id == first.id
    third = registry.register(name="run", digest=A)  # the first weights again
    assert third.id == first.id
    assert registry.get("run").id == second.id
    with pytest.raises(NotFound, match=r"'run' has no version or alias 'v3'.*run@v2, run@v1"):
        registry.get("run@v3")


def test_an_alias_is_unique_within_its_name_and_moves(registry: Registry) -> None:
    first = registry.register(name="run", digest=A, aliases=["best", "production"])
    other = registry.register(name="else", digest=C, aliases="best")
    second = registry.register(name="run", digest=B)
    registry.alias(second, "best")
    assert registry.get("run@best").id == second.id
    assert registry.get("run@production").id == first.id
    assert registry.get("else@best").id == other.id
    moved = registry.history(second)[-1]
    assert (moved.kind, dict(moved.body)) == (
        "aliased", {"alias": "best", "name": "run", "from": "run@v1"},
    )  # fmt: skip
    before = len(registry.history(second))
    registry.alias(second, "best")  # it has it already
    assert len(registry.history(second)) == before


@pytest.mark.parametrize("bad", ["v2", "latest", "with blank", "a/b", "a@b", "", "x" * 201])
def test_an_alias_that_means_something_else_is_refused(registry: Registry, bad: str) -> None:
    registry.register(name="run")
    with pytest.raises(InvalidValue, match="alias"):
        registry.alias("run", bad)
    with pytest.raises(InvalidValue, match="alias"):
        registry.register(name="run", aliases=[bad])


def test_an_alias_needs_a_name(registry: Registry) -> None:
    registry.register(digest=A)
    with pytest.raises(InvalidValue, match="has no name"):
        registry.alias(A, "best")


def test_without_a_digest_the_name_is_the_organism_until_weights_are_seen(
    registry: Registry,
) -> None:
    first = registry.register(name="base", parameters=5)
    assert first.digest is None
    assert registry.register(name="base").id == first.id
    seen = registry.register(name="base", digest=A, place="/w/base")
    assert (seen.id, seen.digest, seen.version) == (first.id, A, 1)
    assert kinds(registry, "base") == ["registered", "identified", "placed"]
    assert registry.register(name="base", digest=B).version == 2


def test_two_that_turn_out_to_be_the_same_become_one(registry: Registry) -> None:
    """One known by its digest, one by its name: then the weights of the name are seen."""
    by_digest = registry.register(digest=A, parents="root", fitness={"gsm8k/acc": 0.5})
    by_name = registry.register(
        name="model", fitness={"mmlu/acc": 0.6}, tags={"team": "prose"}, aliases="best",
        power=lineage.PowerCost(joules=7.0, uuid="12345678-1234-5678-1234-567812345678"),
    )  # fmt: skip
    registry.register(name="child", parents="model")
    registry.protect("model", "the paper")
    one = registry.register(name="model", digest=A)
    assert one.id == by_digest.id != by_name.id
    assert one.protected
    known = registry.record("model")
    assert known.names == (("model", 1),)
    assert {str(score.niche) for score in known.scores} == {"gsm8k/acc", "mmlu/acc"}
    assert [cost.joules for cost in known.power] == [7.0]
    assert known.tags == {"team": "prose"}
    assert known.aliases == ("best",)
    assert [link.parent.name for link in known.parents] == ["root"]
    assert [link.child.name for link in registry.children("model")] == ["child"]
    assert registry.generation("child") == 2
    # both histories are told, and old handles still lead there
    assert "protected" in kinds(registry, "model")
    assert "united" in kinds(registry, "model")
    assert registry.get(by_name).id == registry.get(f"#{by_name.id}").id == one.id
    assert len(registry.find()) == 2


def test_uniting_cannot_make_an_organism_its_own_ancestor(registry: Registry) -> None:
    """`late` descends from the organism that it turns out to be: that link is set aside."""
    registry.register(name="first", digest=A)
    registry.register(name="middle", parents="first")
    registry.register(name="late", parents="middle")
    one = registry.register(name="late", digest=A)
    assert one.id == registry.get("first").id
    assert [link.parent.name for link in registry.parents("middle")] == ["first"]
    assert registry.parents("first") == []
    set_aside = [e for ref in ("first", "middle") for e in registry.history(ref)
                 if e.kind == "link_set_aside"]  # fmt: skip
    assert len(set_aside) == 1


# ---- Ghosts


GHOSTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "name": ("base", {"name": "base", "digest": A}),
    "version": ("base@v1", {"name": "base", "digest": A}),
    "digest": (A, {"name": "base", "digest": A}),
    "prefixed digest": (f"sha256:{A.upper()}", {"name": "base", "digest": A}),
    "hub": ("hf:org/base@main", {"place": "hf:org/base@main"}),
    "uri": ("s3://bucket/base", {"name": "base", "place": "s3://bucket/base", "digest": A}),
    "path": ("/w/base", {"name": "base", "place": "/w/base", "digest": A}),
    "path object": (Path("/w/base"), {"name": "base", "place": "/w/base", "digest": A}),
    "relative path": ("./base", {"name": "base", "place": "base", "digest": A}),
}


@pytest.mark.parametrize("kind", GHOSTS)
def test_a_ghost_waits_for_what_it_was_named_by(registry: Registry, kind: str) -> None:
    ref, registered = GHOSTS[kind]
    child = registry.register(name="child", parents=ref)
    ghost = registry.parents(child)[0].parent
    assert ghost.ghost
    assert ghost.registered is None
    assert registry.find() == [child]
    assert len(registry.find(ghosts=True)) == 2
    stranger = registry.register(name="stranger", digest=B, place="/w/stranger")
    assert stranger.id != ghost.id
    real = registry.register(**registered)
    assert real.id == ghost.id
    assert not real.ghost
    assert real.registered is not None
    assert registry.is_ancestor(real, child)
    assert kinds(registry, real) == ["ghost", "registered"]
    by_name = kind == "name"
    how = registry.parents(child)[0].evidence[0].evidence
    assert how == ("named" if by_name else "declared")


def test_a_link_to_a_bare_name_says_so(registry: Registry) -> None:
    registry.register(name="child")
    registry.link("child", "base")
    assert registry.parents("child")[0].evidence[0].evidence == "named"
    registry.register(name="base")
    registry.link("child", "base")
    assert {one.evidence for one in registry.parents("child")[0].evidence} == {"declared", "named"}


def test_a_ghost_that_waits_for_other_weights_is_not_taken(registry: Registry) -> None:
    registry.register(name="child", parents=[A, "hf:org/base@main", "/w/base"])
    other = registry.register(name="base", digest=B, place="/w/elsewhere")
    assert not registry.is_ancestor(other, "child")
    assert sum(link.parent.ghost for link in registry.parents("child")) == 3


def test_one_unknown_parent_given_twice_is_one_ghost(registry: Registry) -> None:
    child = registry.register(name="child", parents=["base", "base", "base@v1"])
    assert [link.parent.name for link in registry.parents(child)] == ["base"]


def test_a_ghost_can_be_questioned_and_scored(registry: Registry) -> None:
    registry.register(name="child", parents="base")
    registry.score("base", "gsm8k/acc", 0.4)
    assert registry.get("base").ghost
    assert registry.descendants("base") == [registry.get("child")]


def test_an_alias_cannot_be_waited_for(registry: Registry) -> None:
    registry.register(name="base")
    with pytest.raises((NotFound, InvalidValue), match="no version or alias 'best'"):
        registry.register(name="child", parents="base@best")
    assert [one.name for one in registry.find(ghosts=True)] == ["base"]


def test_a_ghost_that_becomes_real_with_parents_re_ranks_what_descends(registry: Registry) -> None:
    registry.register(name="leaf", parents="middle")
    assert registry.generation("leaf") == 1
    registry.register(name="middle", parents=["one", "two"])
    assert (registry.generation("middle"), registry.generation("leaf")) == (1, 2)
    registry.register(name="one", parents="zero")
    assert registry.generation("leaf") == 3


# ---- Links


def test_a_cycle_is_refused_and_nothing_of_it_is_written(registry: Registry) -> None:
    for child, parent in itertools.pairwise(["d", "c", "b", "a"]):
        registry.register(name=child, parents=parent)
    before = registry.record("a")
    with pytest.raises(CycleError) as refused:
        registry.link("a", "d")
    assert refused.value.path == ("a@v1", "b@v1", "c@v1", "d@v1")
    assert "a@v1 → b@v1 → c@v1 → d@v1" in str(refused.value)
    with pytest.raises(CycleError):
        registry.register(name="a", parents="c", tags={"x": "y"}, fitness={"gsm8k/acc": 1})
    with pytest.raises(CycleError, match="cannot be its own parent"):
        registry.link("a", "a")
    assert registry.record("a") == before


def test_many_parents_each_with_what_is_known(registry: Registry) -> None:
    registry.register(name="prose")
    registry.register(name="code")
    registry.register(
        name="merge",
        parents=[
            lineage.Parent("prose", weight=0.7),
            lineage.Parent("code", weight=-0.3, evidence="configured", confidence=0.9),
        ],
    )
    prose, code = registry.parents("merge")
    assert (prose.relation, prose.weight, code.relation, code.weight) == (
        "merge", 0.7, "merge", -0.3,
    )  # fmt: skip
    assert (code.evidence[0].evidence, code.evidence[0].confidence) == ("configured", 0.9)


def test_evidence_may_disagree_and_the_strongest_is_shown(registry: Registry) -> None:
    registry.register(name="base")
    registry.register(
        name="child", parents=lineage.Parent("base", "prune", evidence="weighed", confidence=0.6)
    )
    registry.link("child", "base", "finetune", weight=0.5)
    registry.link("child", "base", "merge", evidence="hashed", confidence=0.8)
    (link,) = registry.parents("child")
    assert (link.relation, link.weight) == ("finetune", 0.5)
    assert [(one.relation, one.evidence, one.confidence) for one in link.evidence] == [
        ("finetune", "declared", None), ("merge", "hashed", 0.8), ("prune", "weighed", 0.6),
    ]  # fmt: skip


def test_unlink_re_ranks_and_the_history_keeps_what_was_known(registry: Registry) -> None:
    registry.register(name="base")
    registry.register(name="child", parents=lineage.Parent("base", "prune", 0.5, confidence=0.9))
    registry.register(name="leaf", parents="child")
    registry.unlink("child", "base")
    assert (registry.generation("child"), registry.generation("leaf")) == (0, 1)
    told = registry.history("child")[-1]
    assert told.kind == "unlinked"
    assert told.body["was"] == [
        {"relation": "prune", "evidence": "declared", "confidence": 0.9, "weight": 0.5}
    ]
    with pytest.raises(NotFound, match="base@v1 is not a parent of child@v1"):
        registry.unlink("child", "base")
    registry.link("base", "leaf")  # the other way round, now that it can be
    assert registry.generation("base") == 2


def test_what_needs_its_parent_bears_it(registry: Registry) -> None:
    registry.register(name="base")
    registry.register(name="lora", parents="base", relation="adapter")
    registry.register(name="full", parents="base")
    registry.register(name="prompt", parents="full", kind="epigenetic")
    bears = {name: registry.record(name).load_bearing for name in ("base", "lora", "full")}
    assert bears == {"base": True, "lora": False, "full": True}


# ---- Scores


def test_the_latest_score_counts_and_all_are_kept(registry: Registry) -> None:
    registry.register(name="base", fitness=[lineage.Score("gsm8k/acc", 0.5, at=NOON)])
    registry.score("base", "gsm8k/acc", 0.7, at=NOON + timedelta(days=1), stderr=0.01, n=1319)
    registry.score("base", "gsm8k/acc", 0.6, at=NOON + timedelta(hours=1))  # older news, late
    assert [score.value for score in registry.record("base").scores] == [0.5, 0.6, 0.7]
    registry.register(name="rival", fitness={"gsm8k/acc": 0.65})
    best = registry.find(niche="gsm8k/acc", sort="fitness")
    assert [one.name for one in best] == ["base", "rival"]
    latest = registry.record("base").scores[-1]
    assert (latest.stderr, latest.n, latest.direction) == (0.01, 1319, "higher")


def test_the_same_score_twice_is_one(registry: Registry) -> None:
    registry.register(name="base")
    for _ in range(2):
        registry.score("base", "gsm8k/acc", 0.5, at=NOON)
        registry.score("base", "gsm8k/acc", 0.5)  # without a time, what counts already
    assert len(registry.record("base").scores) == 1
    registry.score("base", "gsm8k/acc", 0.6)
    registry.score("base", "gsm8k/acc", 0.5)  # it went back: that is news
    assert [score.value for score in registry.record("base").scores] == [0.5, 0.6, 0.5]
    assert kinds(registry, "base").count("scored") == 3


def test_a_niche_has_one_direction(registry: Registry) -> None:
    registry.register(name="base", fitness={"mine/zing": 3})
    assert registry.record("base").scores[0].direction is None
    registry.score("base", "mine/zing", 4, direction="lower")
    assert [score.direction for score in registry.record("base").scores] == ["lower", "lower"]
    with pytest.raises(InvalidValue, match=r"in mine/zing, lower is better, as was said before"):
        registry.score("base", "mine/zing", 5, direction="higher")
    with pytest.raises(InvalidValue, match="lower is better"):
        registry.register(name="new", fitness=[lineage.Score("mine/zing", 5, direction="higher")])
    with pytest.raises(NotFound):
        registry.get("new")


def test_splits_are_niches_of_their_own(registry: Registry) -> None:
    registry.register(name="base")
    registry.score("base", "gsm8k/acc", 0.5, split="test")
    registry.score("base", "gsm8k/acc", 0.9, split="train")
    registry.score("base", "org/set/acc", 0.1)  # the last slash splits
    niches = {score.niche for score in registry.record("base").scores}
    assert niches == {
        Niche("gsm8k", "acc", "test"), Niche("gsm8k", "acc", "train"), Niche("org/set", "acc"),
    }  # fmt: skip


@pytest.mark.parametrize("bad", ["gsm8k", "/acc", "gsm8k/", " / ", "", "/"])
def test_a_niche_is_a_task_and_a_metric(registry: Registry, bad: str) -> None:
    registry.register(name="base")
    with pytest.raises(InvalidValue, match="niche"):
        registry.score("base", bad, 0.5)
    with pytest.raises(InvalidValue, match="niche"):
        registry.register(name="new", fitness={bad: 0.5})


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), "many", None, [1]], ids=["nan", "inf", "text", "none", "l"]
)
def test_a_score_is_a_number(registry: Registry, bad: Any) -> None:
    registry.register(name="base")
    with pytest.raises(InvalidValue, match="gsm8k/acc"):
        registry.score("base", "gsm8k/acc", bad)
    assert registry.record("base").scores == ()


# ---- Power


def test_an_interval_counts_once_by_its_uuid(registry: Registry) -> None:
    spent = lineage.PowerCost(joules=5.0, uuid="12345678123456781234567812345678")
    registry.register(name="base", power=[spent, spent])
    registry.meter("base", spent)
    registry.meter("base", lineage.PowerCost(watts=3.0, seconds=2.0))
    registry.meter("base", lineage.PowerCost(watts=3.0, seconds=2.0))  # another two seconds
    assert [cost.joules for cost in registry.record("base").power] == [5.0, 6.0, 6.0]
    assert [cost.joules for cost in registry.diff("base", "base").training if cost] == [17.0, 17.0]
    with pytest.raises(InvalidValue, match="'mine' is not a UUID"):
        registry.meter("base", lineage.PowerCost(joules=1.0, uuid="mine"))


def test_a_script_that_runs_twice_counts_its_joules_once(registry: Registry) -> None:
    for _ in range(2):
        registry.register(name="base", digest=A, power=lineage.PowerCost(joules=5.0))
    assert [cost.joules for cost in registry.record("base").power] == [5.0]


def test_of_rates_the_latest_counts(registry: Registry) -> None:
    registry.register(name="base")
    for joules, day in ((2.0, 0), (3.0, 2), (1.0, 1)):
        registry.meter("base", lineage.PowerCost(
            joules=joules, phase="serving", per="token",
            at=NOON + timedelta(days=day)))  # fmt: skip
    registry.register(
        name="rival", power=lineage.PowerCost(joules=2.5, phase="serving", per="token")
    )
    assert [one.name for one in registry.find(sort="power")] == ["rival", "base"]
    assert len(registry.record("base").power) == 3


# ---- Tags, protection, and who did what


def test_tags_are_set_changed_and_taken_away(registry: Registry) -> None:
    registry.register(name="base", tags={"team": "prose"})
    registry.tag("base", {"with = sign": "1"}, team="code", year=2026)
    assert registry.record("base").tags == {"team": "code", "with = sign": "1", "year": "2026"}
    registry.tag("base", team=None)
    assert "team" not in registry.record("base").tags
    last = registry.history("base")[-1]
    assert dict(last.body) == {"tags": {"team": None}, "was": {"team": "code"}}
    before = len(registry.history("base"))
    registry.tag("base", year="2026")
    assert len(registry.history("base")) == before
    assert [one.name for one in registry.find(tag="year")] == ["base"]
    assert [one.name for one in registry.find(tag=("year", "2026"))] == ["base"]
    assert registry.find(tag=("year", "2027")) == []


def test_protection_is_told_with_its_reason(registry: Registry) -> None:
    registry.register(name="base")
    assert registry.protect("base", "the paper").protected
    registry.protect("base", "again")
    assert not registry.unprotect("base").protected
    assert [(e.kind, dict(e.body)) for e in registry.history("base")[1:]] == [
        ("protected", {"reason": "the paper"}), ("unprotected", {}),
    ]  # fmt: skip


def test_every_act_says_who_when_and_what(registry_url: str) -> None:
    start = datetime.now(UTC)
    with lineage.open(registry_url, command="lineage test") as registry:
        registry.register(name="base", parents="root", fitness={"gsm8k/acc": 0.5}, tags={"a": "b"})
        registry.link("base", "other")
        registry.score("base", "gsm8k/acc", 0.6, stderr=0.01)
        registry.meter("base", lineage.PowerCost(joules=5.0))
        registry.alias("base", "best")
        registry.tag("base", c="d")
        registry.protect("base", "because")
        registry.unlink("base", "other")
        history = registry.history("base")
    assert [event.kind for event in history] == [
        "registered", "linked", "scored", "metered", "aliased", "tagged", "protected", "unlinked",
    ]  # fmt: skip
    for event in history:
        who = (event.user, event.host, event.pid, event.command)
        assert who == (getpass.getuser(), socket.gethostname(), os.getpid(), "lineage test")
        assert start - timedelta(seconds=1) <= event.at <= datetime.now(UTC) + timedelta(seconds=1)
    assert history[0].body["fitness"][0]["value"] == 0.5
    assert history[0].body["parents"][0]["ref"] == "root"
    assert (history[2].body["value"], history[2].body["stderr"]) == (0.6, 0.01)
    assert history[3].body["joules"] == 5.0


def test_the_history_cannot_be_rewritten(registry: Registry) -> None:
    registry.register(name="base")
    for forbidden in ("UPDATE event SET kind = 'nothing'", "DELETE FROM event"):
        with pytest.raises(Exception, match="append-only"), registry.database.write() as connection:
            connection.execute(forbidden)
    assert kinds(registry, "base") == ["registered"]


def test_a_mark_is_told_and_taken_back(registry: Registry) -> None:
    from lineage import store

    base = registry.register(name="base")
    marked = [(base.id, {"why": "dear"})]
    for changed in (1, 0):
        with registry.store.act() as act:
            assert store.mark(act, "selected_against", "selected_against", marked) == changed
    assert registry.get("base").status == "selected_against"
    assert registry.find(status="alive") == []
    assert registry.revive("base", "it is needed").status == "alive"
    assert registry.history("base")[-1].body["reason"] == "it is needed"


# ---- Places


def test_other_weights_at_a_place_are_told(registry: Registry) -> None:
    first = registry.register(name="run", digest=A, place="/w/run")
    assert first.here
    second = registry.register(name="run", digest=B, place="/w/run")
    assert registry.get("/w/run").id == second.id
    gone = registry.record(first)
    assert gone.places[0].gone_at is not None
    assert not gone.organism.here
    assert second.here
    assert "gone" in kinds(registry, first)
    back = registry.register(name="run", digest=A, place="/w/run")  # copied back
    assert back.here
    assert registry.get("/w/run").id == first.id
    assert not registry.get(second).here


def test_a_place_of_two_revisions_is_ambiguous_until_one_is_named(registry: Registry) -> None:
    one = registry.register(digest=A, place="hf:org/name@main")
    assert registry.get("hf:org/name").id == one.id
    other = registry.register(digest=C, place="hf:org/Name@main")
    assert registry.get("hf:org/name").id == one.id
    assert registry.get("hf:org/Name").id == other.id
    two = registry.register(digest=B, place="hf:org/name@v2")
    with pytest.raises(Ambiguous) as several:
        registry.get("hf:org/name")
    assert set(several.value.candidates) == {one.ref, two.ref}
    assert registry.get("hf:org/name@v2").id == two.id


# ---- References


def test_every_form_of_a_reference(registry: Registry) -> None:
    one = registry.register(
        name="org/model", digest=A, place=["/w/model", "hf:org/model@main"], aliases="best"
    )
    for ref in (
        "org/model", "org/model@v1", "org/model@latest", "org/model@best", A, A[:8], A[:9].upper(),
        f"sha256:{A}", "hf:org/model@main", "hf:org/model", "/w/model", "/w/../w/model",
        Path("/w/model"), "file:///w/model", one, one.ref, f"#{one.id}",
    ):  # fmt: skip
        assert registry.get(ref).id == one.id, ref


def test_a_prefix_that_fits_several_lists_them(registry: Registry) -> None:
    for end in "01":
        registry.register(name=f"n{end}", digest="ab" * 31 + f"0{end}")
    with pytest.raises(Ambiguous, match=r"fits 2 organisms: n0@v1, n1@v1"):
        registry.get("abababab")
    with pytest.raises(Ambiguous):
        registry.link("n0", "ab" * 16)
    with pytest.raises(NotFound):
        registry.get("ababab")  # six digits are a name


def test_a_name_that_looks_like_a_digest_is_a_name_first(registry: Registry) -> None:
    registry.register(name="deadbeef")
    other = registry.register(digest="deadbeef" * 8)
    with pytest.raises(Ambiguous):
        registry.get("deadbeef")
    assert registry.get("deadbeef@v1").name == "deadbeef"
    assert registry.get("deadbeef" * 8).id == other.id


def test_a_name_with_an_at_sign_is_exact(registry: Registry) -> None:
    at = registry.register(name="team@v1")
    plain = registry.register(name="team", digest=A)
    assert registry.get("team@v1").id == at.id  # the whole name fits
    assert registry.get("team").id == plain.id
    assert registry.get(at.ref).id == at.id
    assert at.ref == "team@v1@v1"


def test_a_misspelt_reference_proposes_the_nearest(registry: Registry) -> None:
    for name in ("llama-base", "llama-chat", "qwen-base", "Unrelated"):
        registry.register(name=name)
    with pytest.raises(NotFound) as missing:
        registry.get("lama-base")
    assert missing.value.nearest[0] == "llama-base"
    assert "Nearest: llama-base" in str(missing.value)
    with pytest.raises(NotFound) as missing:
        registry.get("LLAMA-CHAT")
    assert missing.value.nearest[0] == "llama-chat"


def test_an_empty_registry_answers(registry: Registry) -> None:
    assert registry.find() == []
    assert registry.select().proposed == 0
    with pytest.raises(NotFound, match="no organism is called 'x'"):
        registry.get("x")
    for empty in ("", " ", "@", "@v1", "#0", "#99999999999999999999", "hf:", "/", "~nobody/x"):
        with pytest.raises(NotFound):
            registry.get(empty)
    with pytest.raises(InvalidValue, match="is not a reference"):
        registry.get(7)
    outcome = registry.register_many([])
    assert (outcome.created, outcome.set_aside) == (0, ())


# ---- Text from outside


HOSTILE = {
    "quotes": """it's "quoted" `so` '; DROP TABLE organism; --""",
    "newline": "two\nlines\r\n",
    "html": "<script>alert(1)</script>&amp;",
    "escape": "\x1b[31mred\x1b]8;;https://x\x07",
    "emoji": "🧬👩‍🔬 \U0001f469",
    "rtl": "\u202eשלום \u200fمرحبا",
    "long": "x" * 10_000,
    "wildcards": "100%_[a-z]*?",
    "at": "@@a@b@",
    "slashes": "a/b//c\\d",
    "json": '{"a": [1, "\\u0000"]}',
    "dash": "--help",
    "placeholder": "? %s :name $1",
    "blank": "  spaces  ",
    "combining": "e\u0301 vs \u00e9",
    "number": "#1",
    "version": "v1",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_a_name_holds_it_is_a_name(registry: Registry, kind: str) -> None:
    name = HOSTILE[kind]
    registry.register(name="bystander")
    one = registry.register(
        name=name, tags={name: name}, fitness={f"{name}/acc": 0.5}, run=name, architecture=name,
        parents=lineage.Parent(f"{name} parent", "finetune"), aliases="best",
        power=lineage.PowerCost(joules=1.0, meter=name),
    )  # fmt: skip
    two = registry.register(name=name, digest=A)
    assert one.name == two.name == name
    assert registry.get(name).id == two.id
    assert registry.get(one.ref).id == one.id == two.id  # then its weights were seen
    known = registry.record(one)
    assert known.tags == {name: name}
    assert known.scores[0].niche.task == name
    assert known.power[0].meter == name
    assert (known.organism.run, known.organism.architecture) == (name, name)
    assert known.parents[0].parent.name == f"{name} parent"
    assert registry.history(one)[0].body["name"] == name
    assert [o.id for o in registry.find(tag=(name, name))] == [one.id]
    assert [o.name for o in registry.find(niche=f"{name}/acc")] == [name]
    assert {o.id for o in registry.find("bystander")} == {registry.get("bystander").id}


@pytest.mark.parametrize(
    "bad", ["", "   ", "nul\x00", "\ud800"], ids=["empty", "blank", "nul", "s"]
)
def test_what_no_database_keeps_is_refused_with_a_sentence(registry: Registry, bad: str) -> None:
    for values in ({"name": bad}, {"name": "x", "tags": {bad: "y"}}, {"name": "x", "run": bad},
                   {"name": "x", "parents": bad}, {"name": "x", "place": bad}):  # fmt: skip
        with pytest.raises(InvalidValue):
            registry.register(**values)
    assert registry.find(ghosts=True) == []


def test_find_takes_wildcards_and_only_those(registry: Registry) -> None:
    for name in ("run-1", "run-2", "run_3", "a%b", "a[b]", "RUN-9"):
        registry.register(name=name)
    found = lambda pattern: sorted(one.name for one in registry.find(pattern))  # noqa: E731
    assert found("run-*") == ["run-1", "run-2"]
    assert found("run?3") == ["run_3"]
    assert found("run_*") == ["run_3"]
    assert found("a%*") == ["a%b"]
    assert found("a[b]") == ["a[b]"]
    assert found("*") == sorted(["run-1", "run-2", "run_3", "a%b", "a[b]", "RUN-9"])


# ---- Values that are refused, in sentences


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "needs a path, a name, a digest or a place"),
        ({"name": "x", "digest": "abc"}, "'abc' is not a SHA-256"),
        ({"name": "x", "parents": "y", "relation": "sibling"}, "relation 'sibling' is unknown"),
        ({"name": "x", "colour": "red"}, "colour: register knows no such thing"),
        ({"name": "x", "kind": "strange"}, "kind 'strange' is unknown"),
        ({"name": "x", "parameters": -1}, "parameters is -1"),
        ({"name": "x", "parameters": 2**63}, "parameters"),
        ({"name": "x", "step": 1.5}, "step must be a whole number"),
        ({"name": "x", "created": "yesterday"}, "'yesterday' is not a time"),
        ({"name": "x", "fitness": [0.5]}, "0.5 is not a score"),
        ({"name": "x", "fitness": 0.5}, "0.5 is not a score"),
        ({"name": "x", "fitness": 0.0}, "0.0 is not a score"),
        ({"name": "x", "fitness": "gsm8k/acc=0.5"}, "'gsm8k/acc=0.5' is not a score"),
        ({"name": "x", "tags": ["nlp"]}, "['nlp'] are no tags"),
        ({"digest": A, "aliases": "best"}, "an alias belongs to a name"),
        ({"name": "x", "parents": 7}, "7"),
    ],
)
def test_a_bad_value_is_named(registry: Registry, values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        registry.register(**values)
    assert said in str(refused.value)
    assert registry.find(ghosts=True) == []


def test_what_is_not_a_power_cost_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidValue):
        registry.register(name="x", power=[5.0])
    with pytest.raises(InvalidValue):
        registry.meter(registry.register(name="y"), 5.0)  # type: ignore[arg-type]


def test_many_are_registered_and_what_is_bad_is_set_aside(registry: Registry) -> None:
    outcome = registry.register_many(
        iter(
            [
                {"name": "child", "parents": "base"},
                {"name": "bad", "fitness": {"gsm8k/acc": float("nan")}},
                {"name": "base"},
                {"nam": "misspelt"},
                {"name": "base", "parents": "child"},
                {"name": "late", "parents": ["child", "base"]},
            ]
        ),
        batch=2,
    )
    assert (outcome.created, outcome.updated) == (2, 1)
    assert [index for index, _ in outcome.set_aside] == [1, 3, 4]
    assert "nan" in outcome.set_aside[0][1]
    assert "descends from" in outcome.set_aside[2][1]
    assert {one.name for one in registry.find()} == {"child", "base", "late"}


def test_what_comes_out_is_frozen(registry: Registry) -> None:
    registry.register(name="base")
    one = registry.register(name="child", parents="base", fitness={"gsm8k/acc": 0.5})
    record = registry.record(one)
    for value in (one, record, record.parents[0], record.scores[0], record.events[0]):
        field = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, 1)


def test_times_are_told_in_utc(registry: Registry) -> None:
    one = registry.register(name="a", created="2026-01-01T13:00:00.123456+01:00")
    assert one.created == datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert one.registered is not None
    assert one.registered.tzinfo is UTC
    old = registry.register(name="b", created=datetime(1969, 7, 20, tzinfo=UTC))
    assert old.created == datetime(1969, 7, 20, tzinfo=UTC)
    early = registry.find(until=one.registered)
    assert early == []
    assert [o.name for o in registry.find(since=one.registered)] == ["b", "a"]


def test_finding_by_many_conditions_and_sorting(registry: Registry) -> None:
    registry.register(name="a", bytes=10, created=100, fitness={"x/loss": 3.0})
    registry.register(name="b", bytes=30, created=300, fitness={"x/loss": 1.0}, parents="a")
    registry.register(name="c", created=200, parents="b", relation="adapter")
    names = lambda **kw: [one.name for one in registry.find(**kw)]  # noqa: E731
    assert names() == ["c", "b", "a"]
    assert names(sort="bytes") == ["b", "a", "c"]
    assert names(sort="created") == ["b", "c", "a"]
    assert names(sort="name") == ["a", "b", "c"]
    assert names(sort="generation") == ["c", "b", "a"]
    assert names(niche="x/loss", sort="fitness") == ["b", "a"]
    assert names(relation="adapter") == ["c"]
    assert names(status="alive", limit=1) == ["c"]
    with pytest.raises(InvalidValue, match="sorting by fitness needs a niche"):
        registry.find(sort="fitness")
    with pytest.raises(NotFound, match=r"nobody was scored in y/loss.*x/loss"):
        registry.find(niche="y/loss")


def test_all_conditions_combine(registry: Registry) -> None:
    serving = lambda joules: lineage.PowerCost(joules, "serving", "token")  # noqa: E731
    registry.register(
        name="base", fitness={"x/acc": 0.5}, power=serving(3.0), licence="mit", run="r", step=1
    )
    registry.register(
        name="a", parents="base", relation="adapter", fitness={"x/acc": 0.6}, power=serving(1.0),
        tags={"team": "p", "k": "v"}, aliases="best", architecture="Llama", precision="BF16",
        place="/w/a",
    )  # fmt: skip
    registry.register(
        name="b", parents="base", fitness={"x/acc": 0.7}, power=serving(2.0), tags={"team": "p"}
    )
    registry.register(name="c", parents="ghost", kind="epigenetic")
    registry.protect("b")
    names = lambda **kw: [one.name for one in registry.find(**kw)]  # noqa: E731
    for wanted, expected in (
        ({"niche": "x/acc", "min": 0.6}, ["b", "a"]),
        ({"niche": "x/acc", "max": 0.6, "sort": "fitness"}, ["a", "base"]),
        ({"niche": "x/acc", "min": 0.6, "max": 0.6}, ["a"]),
        ({"max_joules": 3.0}, ["b", "base"]),  # what an adapter needs to run counts
        ({"niche": "x/acc", "min": 0.6, "max_joules": 2.5, "sort": "power"}, ["b"]),
        ({"parent": "base"}, ["b", "a"]),
        ({"parent": "base", "relation": "adapter"}, ["a"]),
        ({"tags": ["team", ("k", "v")]}, ["a"]),
        ({"tag": ("team", "p"), "protected": True}, ["b"]),
        ({"tag": "team", "protected": False}, ["a"]),
        ({"alias": "best"}, ["a"]),
        ({"licence": "mit", "run": "r"}, ["base"]),
        ({"architecture": "Llama", "precision": "BF16", "here": True}, ["a"]),
        ({"kind": "epigenetic"}, ["c"]),
        ({"ghosts": True, "kind": "genomic"}, ["ghost", "b", "a", "base"]),
        ({"name": "?", "niche": "x/acc"}, ["b", "a"]),
        ({"until": registry.get("a").registered}, ["base"]),
        ({"alias": None, "status": None}, ["c", "b", "a", "base"]),
    ):
        found = names(**wanted)
        assert sorted(map(str, found)) == sorted(map(str, expected)), wanted
        if "ghosts" not in wanted:
            assert found == expected
        counts = {key: value for key, value in wanted.items() if key != "sort"}
        assert registry.count(**counts) == len(expected)
    assert registry.count(at_most=2) == 2
    with pytest.raises(InvalidValue, match="of a niche"):
        registry.find(min=0.5)
    with pytest.raises(TypeError, match="colour"):
        registry.find(colour="red")  # type: ignore[call-arg]


def test_the_scores_of_a_niche_are_read_in_the_order_of_their_values(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        registry.register(name="a", fitness={"x/acc": 0.5})
        asked: list[str] = []
        with registry.database.read() as connection:
            connection.raw.set_trace_callback(asked.append)
            ledger.find(connection, niche=Niche("x", "acc"), min=0.1, sort="fitness", limit=5)
            connection.raw.set_trace_callback(None)
            steps = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {asked[-1]}")]
    assert "f USING PRIMARY KEY (niche=? AND value>?)" in steps[0]
    assert not any(step.startswith("USE TEMP B-TREE FOR ORDER BY") for step in steps), steps


def test_a_place_is_found_by_its_hash_and_by_its_text(registry: Registry) -> None:
    old, new = (registry.register(name=name, place=f"hf:org/base@{name}") for name in ("v1", "v2"))
    named = registry.register(name="named", place="hf:org/base-2@v1")
    path = registry.register(name="path", place="/runs/hf:org/base@v1")
    assert [registry.get(f"hf:org/base@{one}") for one in ("v1", "v2")] == [old, new]
    with pytest.raises(Ambiguous, match="fits 2 organisms: v1@v1, v2@v1"):
        registry.get("hf:org/base")
    assert registry.get("hf:org/base-2") == named
    assert registry.get("/runs/hf:org/base@v1") == path
    with registry.database.write() as connection:  # one chance in 2^64, here for once
        right = connection.rows("SELECT hash, id FROM place")
        same = place_hash("hf:org/base@v1")
        connection.execute("UPDATE place SET hash = ?", (same,))
    assert registry.get("hf:org/base@v1") == old
    assert registry.register(place="hf:org/base@v1") == old
    assert len(registry.find()) == 4
    with registry.database.write() as connection:
        connection.many("UPDATE place SET hash = ? WHERE id = ?", right)


def test_an_index_finds_a_place(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry, registry.database.read() as connection:
        for uri in ("/runs/a", "hf:org/base"):
            asked: list[str] = []
            connection.raw.set_trace_callback(asked.append)
            at_place(connection, uri)
            connection.raw.set_trace_callback(None)
            steps = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {asked[-1]}")]
            assert steps[0] == "SEARCH place USING INDEX place_hash (hash>? AND hash<?)"


def test_diff_tells_both_branches(registry: Registry) -> None:
    registry.register(name="base", parameters=10)
    serving = lineage.PowerCost(joules=2.0, phase="serving", per="token")
    registry.register(name="a", parents="base", fitness={"x/acc": 0.5}, power=serving)
    registry.register(name="b", parents="base", fitness={"x/acc": 0.75, "y/acc": 0.1})
    registry.meter("b", lineage.PowerCost(joules=9.0))
    found = registry.diff("a", "b")
    assert [one.name for one in found.common] == ["base"]
    assert [link.child.name for link in found.branch_a + found.branch_b] == ["a", "b"]
    told = {str(one.niche): one.delta for one in found.niches}
    assert told == {"x/acc": 0.25, "y/acc": None}
    assert found.training[0] is None
    assert found.training[1].joules == 9.0
    assert [cost.joules for cost in found.serving[0]] == [2.0]


# ---- Anything, in any order


NAMES = ("p", "q", "r")
DIGESTS = (A, B)
AMBIGUOUS = "Give a name, a version or a digest."
PLACES = ("/w/1", "/w/2", "hf:o/n@1", "hf:o/n@2")
REFS = (*NAMES, *DIGESTS, *PLACES, "p@v1", "q@v2")
a_few = st.lists(st.sampled_from(REFS), max_size=2, unique=True)
registrations = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(NAMES),
        "digest": st.sampled_from(DIGESTS),
        "place": st.lists(st.sampled_from(PLACES), min_size=1, max_size=2, unique=True),
        "parents": a_few,
        "fitness": st.just({"x/acc": 0.5}) | st.just({"x/acc": 0.6, "y/acc": 0.1}),
        "power": st.just(lineage.PowerCost(joules=1.0))
        | st.just(lineage.PowerCost(joules=2.0, phase="serving", per="token")),
        "tags": st.just({"k": "v"}) | st.just({"k": "w", "l": "x"}),
        "aliases": st.sampled_from(("best", "good")),
        "kind": st.just("epigenetic"),
        "parameters": st.just(7),
    },
)


@settings(max_examples=2 * sound.EXAMPLES)
@given(st.lists(registrations, max_size=8), st.integers(1, 8))
@example(  # two organisms at one place, which a third then names as its parent
    wanted=[
        {"parents": [], "name": "p", "digest": DIGESTS[0], "place": ["hf:o/n@1"]},
        {"parents": [], "name": "p", "digest": DIGESTS[1], "place": ["hf:o/n@1"]},
        {"parents": ["hf:o/n@1"], "name": "q"},
    ],
    batch=1,
)
def test_whatever_is_registered_in_whatever_order_the_registry_is_sound(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[dict[str, Any]], batch: int
) -> None:
    """And the same batch again changes nothing."""
    with lineage.open(tmp_path_factory.mktemp("any") / "r.db", durable=False) as registry:
        set_aside = dict(registry.register_many(wanted, batch=batch).set_aside)
        sound.check(registry)
        for index, one in enumerate(wanted):
            known = {key: one[key] for key in ("name", "digest", "place") if key in one}
            for ref in (known.get("name"), known.get("digest"), *known.get("place", ())):
                if ref is not None:
                    try:
                        registry.record(ref)
                    except Ambiguous:
                        assert ref in PLACES
                    except NotFound:
                        assert known.keys() != {"name"} or AMBIGUOUS in set_aside[index]


@settings(max_examples=sound.EXAMPLES)
@given(st.lists(registrations, max_size=6))
@example([{"name": "p"}, {"digest": A}, {"name": "p", "digest": A}])
@example([
    {"name": "p", "digest": B, "fitness": {"x/acc": 0.6}},
    {"name": "r", "place": ["/w/1"], "kind": "epigenetic", "fitness": {"x/acc": 0.5}},
    {"name": "p", "place": ["/w/1"], "kind": "epigenetic", "fitness": {"x/acc": 0.6}},
    {"name": "r", "digest": B},
])  # fmt: skip
def test_one_by_one_or_in_a_batch_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[dict[str, Any]]
) -> None:
    told = []
    for batch in (1, 100):
        with lineage.open(tmp_path_factory.mktemp("way") / "r.db", durable=False) as registry:
            registry.register_many(wanted, batch=batch)
            told.append(_content(registry))
    (known, counting, united), (known_too, counting_too, united_too) = told
    assert known == known_too
    # Which of several scores counts depends on when two became one: a score that repeats the latest
    # is passed over, and in a batch the scores of both come in after that.
    assert counting == counting_too or united or united_too


def _content(registry: Registry) -> tuple[Any, Any, bool]:
    """What is known, without the ids and times that depend on the way it came; which scores count;
    and whether two became one."""
    with registry.database.read() as connection:
        label = {
            own: (bytes(digest) if digest else None, names, places)
            for own, digest, names, places in connection.rows(
                """SELECT o.id, o.digest,
                     (SELECT group_concat(name || '@' || version) FROM
                       (SELECT name, version FROM name WHERE organism = o.id ORDER BY 1, 2)),
                     (SELECT group_concat(uri) FROM
                       (SELECT uri FROM place WHERE organism = o.id ORDER BY 1))
                   FROM organism o WHERE same_as IS NULL"""
            )
        }
        links = {
            (label[child], label[parent], relation, how)
            for child, parent, relation, how in connection.rows(
                "SELECT child, parent, relation, evidence FROM evidence"
            )
        }
        scores, counting = (
            sorted(
                (repr(label[own]), niche, value)
                for own, niche, value in connection.rows(
                    f"SELECT DISTINCT organism, niche, value FROM fitness {which}"
                )
            )
            for which in ("", "WHERE current = 1")
        )
        united = connection.value("SELECT count(*) FROM organism WHERE same_as IS NOT NULL") > 0
    return (sorted(map(repr, label.values())), links, scores), counting, united


def test_a_refused_registration_leaves_nothing(registry: Registry) -> None:
    registry.register(name="base")
    for bad in (
        {"name": "new", "parents": ["ghost", "base@nope"]},
        {"name": "new", "digest": A, "power": lineage.PowerCost(joules=1.0, uuid="mine")},
        {"name": "base", "parents": ["ghost", "base"]},
    ):
        with pytest.raises(LineageError):
            registry.register(**bad)
    assert [one.name for one in registry.find(ghosts=True)] == ["base"]
    assert kinds(registry, "base") == ["registered"]
