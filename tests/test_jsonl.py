"""JSON Lines: what one registry exports another one imports, equal to the byte; and whatever a
file holds, what can go in goes in, and the rest is told."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lineage
from lineage import store
from lineage.errors import LineageError
from lineage.formats import jsonl
from lineage.formats.importing import Report
from lineage.organism import EVIDENCE, RELATIONS, File, Parent, PowerCost, Score
from lineage.registration import registration
from lineage.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
numbers = itertools.count()


def exported(registry: Registry) -> list[str]:
    with registry.database.read() as connection:
        return list(jsonl.export(connection))


def generations(registry: Registry) -> list[int]:
    with registry.database.read() as connection:
        return [
            row[0]
            for row in connection.rows(
                "SELECT generation FROM organism WHERE same_as IS NULL ORDER BY generation, id"
            )
        ]


def imported(registry: Registry, lines: Iterable[Any], **how: Any) -> Report:
    """Import lines, given as text or as what is to be written as JSON."""
    written = [one if isinstance(one, (str, bytes)) else json.dumps(one) for one in lines]
    return jsonl.import_lines(registry.store, written, **how)


@pytest.fixture
def registry(tmp_path: Path) -> Iterable[Registry]:
    with lineage.open(tmp_path / "registry.db", durable=False) as opened:
        yield opened


# ---- equal registries

odd = st.sampled_from(["a", "b", "o/r", "hf:o/r", "x@v1", "/ckpt/1", "deadbeef", 'q"\n<b>\x1b[2J',
                       "\u202eltr", "模型 " * 40, "s3://b/x"])  # fmt: skip
digests = st.sampled_from([f"{n:02x}" * 32 for n in range(5)])
places = st.sampled_from(
    ["hf:o/r@1", "hf:o/r@2", "hf:o/r", "/ckpt/1", "/ckpt/2", "s3://b/x", "hf:ö/ü@main"]
)
refs = st.one_of(odd, digests, places, st.sampled_from(["a@v1", "a@v2", "b@best", "new", "ab@v3"]))
amounts = st.floats(0, 1e30)
times = st.integers(1, 4_000_000_000_000_000).map(
    lambda n: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=n)
)
maybe_times = st.one_of(st.none(), times, st.just(datetime(2026, 1, 1, tzinfo=UTC)))
scores = st.builds(
    Score,
    st.sampled_from(["gsm8k/acc", "wiki/text/ppl", "own/thing", "t/loss"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | amounts,
    st.none() | st.integers(1, 10**9),
    split=st.sampled_from(["", "test"]),
    at=maybe_times,
)
costs = st.builds(
    PowerCost,
    amounts,
    st.sampled_from(["training", "serving"]),
    st.sampled_from(["total", "token", "hour"]),
    st.sampled_from(["measured", "estimated"]),
    watts=st.none() | amounts,
    gco2e=st.none() | amounts,
    meter=st.sampled_from([None, "RAPL", 'odd "meter"\n']),
    uuid=st.none() | st.uuids(version=4).map(str),
    at=maybe_times,
)
parents = st.builds(
    Parent,
    refs,
    st.none() | st.sampled_from(RELATIONS),
    st.none() | st.floats(-2, 2),
    st.sampled_from(EVIDENCE),
    st.none() | st.floats(0, 1),
    st.none() | st.booleans(),
)
tags = st.dictionaries(odd, odd, max_size=3)
known_by = {
    "name": odd,
    "digest": digests,
    "place": st.lists(places, min_size=1, max_size=2, unique=True),
}
told = {
    "parents": st.lists(parents, max_size=3),
    "fitness": st.lists(scores, max_size=3),
    "power": st.lists(costs, max_size=2),
    "tags": tags,
    "kind": st.sampled_from(["genomic", "genomic", "epigenetic"]),
    "parameters": st.integers(0, 2**62),
    "created": times,
    "licence": odd,
    "run": odd,
    "step": st.integers(0, 10**6),
}
entries = st.one_of(
    st.fixed_dictionaries(
        {key: known_by[key]},
        optional=told | {other: known_by[other] for other in known_by if other != key},
    )
    for key in known_by
)
acts = st.one_of(
    st.tuples(st.just("register"), entries),
    st.tuples(st.just("register"), entries),
    st.tuples(st.just("register"), entries),
    st.tuples(st.just("files"), digests, places),
    st.tuples(st.just("link"), refs, parents),
    st.tuples(st.just("unlink"), refs, refs),
    st.tuples(st.just("score"), refs, scores),
    st.tuples(st.just("meter"), refs, costs),
    st.tuples(st.just("alias"), refs, st.sampled_from(["best", "production"])),
    st.tuples(st.just("tag"), refs, tags),
    st.tuples(st.just("protect"), refs, odd),
    st.tuples(st.just("mark"), refs, st.sampled_from(["selected_against", "alive", "culled"])),
)


def do(registry: Registry, act: str, *what: Any) -> None:
    """One act of a user; one that is refused is a user's mistake."""
    try:
        if act == "register":
            registry.register(**what[0])
        elif act == "files":
            digest, place = what
            at = 1_700_000_000_123_456_789
            files = [File("m.safetensors", 7, digest, True, at), File("a/ü", 0, digest, False)]
            registry.register_many([registration(digest=digest, place=place, files=files)])
        elif act == "score":
            ref, score = what
            registry.score(ref, score.niche, score.value, stderr=score.stderr, n=score.n,
                           at=score.at)  # fmt: skip
        elif act == "mark":
            ref, status = what
            own = registry.get(ref).id
            with registry.store.act() as writing:
                store.mark(writing, status, "marked", [(own, {"by": "test", "margin": 0.25})])
        else:
            getattr(registry, act)(*what)
    except LineageError:
        pass


@settings(max_examples=sound.EXAMPLES, suppress_health_check=list(HealthCheck))
@given(st.lists(acts, min_size=4, max_size=20), st.randoms(use_true_random=False))
def test_an_import_of_an_export_is_an_equal_registry(
    tmp_path: Path, done: list[Any], chance: random.Random
) -> None:
    folder = tmp_path / str(next(numbers))
    opened = [lineage.open(folder / f"{name}.db", durable=False) for name in "abc"]
    a, b, c = opened
    try:
        for one in done:
            do(a, *one)
        lines = exported(a)
        report = imported(b, lines)
        assert (report.created, report.set_aside) == (len(lines), 0), report.first
        assert exported(b) == lines
        assert generations(b) == generations(a)
        for known in (a, b):  # twice, and at home
            again = imported(known, lines)
            assert (again.created, again.updated, again.set_aside) == (0, 0, 0), again.first
            assert exported(known) == lines
        shuffled = chance.sample(lines, len(lines))
        assert imported(c, shuffled, batch=3).set_aside == 0
        assert sorted(zip(exported(c), generations(c), strict=True)) == sorted(
            zip(lines, generations(a), strict=True)
        )
        again = imported(c, shuffled)
        assert (again.created, again.updated, again.set_aside) == (0, 0, 0)
    finally:
        for one in opened:
            one.close()


def test_a_number_that_a_rename_gave_up_stays_given_up(registry_url: str, tmp_path: Path) -> None:
    with lineage.open(tmp_path / "first.db") as first:
        for _ in range(2):
            first.register(name="sft", digest=f"{next(numbers):064x}")
        first.rename("sft@v2", "best")
        lines = exported(first)
    with lineage.open(registry_url) as second:
        imported(second, lines)
        third = second.register(name="sft", digest="ab" * 32)
        assert (third.name, third.version) == ("sft", 3)
        assert second.get("sft@v1") != second.get("best@v1")
