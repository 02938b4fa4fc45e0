"""Standings are true after every act, whatever it was: what serving an organism costs, with all
that it needs to run, stands beside each of its scores that counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sound
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
from lineage import PowerCost, Score
from lineage.errors import LineageError
from lineage.formats import jsonl
from lineage.registry import Registry


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    with lineage.open(registry_url) as opened:
        yield opened


UNITS = ("token", "request")
NICHES = ("a/acc", "b/loss")


def serving(joules: float, per: str = "token", source: str = "measured", **more) -> PowerCost:
    return PowerCost(joules=joules, phase="serving", per=per, source=source, **more)


def standing(registry: Registry, ref: str) -> list[tuple]:
    with registry.database.read() as connection:
        sound.check_standings(connection)
        return connection.rows(
            """SELECT per, joules, source, meter, state, here FROM standing
               WHERE organism = ? ORDER BY niche, value, per""",
            (registry.get(ref).id,),
        )


def test_a_chain_of_adapters_costs_what_all_of_it_costs(registry: Registry) -> None:
    registry.register(name="base", power=serving(1.0), fitness={"a/acc": 0.1})
    for own, below in (("one", "base"), ("two", "one"), ("three", "two")):
        registry.register(
            name=own, parents=below, relation="adapter", power=serving(0.25),
            fitness={"a/acc": 0.5},
        )  # fmt: skip
    assert standing(registry, "three") == [(0, 1.75, 0, -3, 0, 0)]
    registry.meter("base", serving(2.0, source="estimated", meter="nameplate"))
    assert [row[:3] for row in standing(registry, "three")] == [(0, 2.75, 2)]
    registry.retract("base", "a wrong meter", cost="serving", per="token")
    assert standing(registry, "three") == [(0, 1.75, 0, -3, 0, 0)]
    registry.unlink("two", "one")
    assert [row[1] for row in standing(registry, "three")] == [0.5]
    registry.link("two", "one", relation="adapter")
    assert [row[1] for row in standing(registry, "three")] == [1.75]


def test_what_is_not_known_of_a_part_is_not_known_of_the_whole(registry: Registry) -> None:
    registry.register(
        name="lora", parents="base", relation="adapter", power=serving(0.25),
        fitness={"a/acc": 0.5},
    )  # fmt: skip
    assert standing(registry, "lora") == [(-1, None, None, None, 0, 0)]
    registry.register(name="base", parameters=10**9)
    ((per, joules, source, *_),) = standing(registry, "lora")
    assert (per, source) == (0, 2)
    assert joules > 0.25


OPERATIONS = st.lists(
    st.tuples(st.integers(0, 13), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4)),
    min_size=4,
    max_size=16,
)


def act(registry: Registry, what: int, own: int, other: int, number: int) -> None:
    """One of the acts that change what a standing rests on."""
    ref, base, niche = f"m{own}", f"m{other}", NICHES[number % 2]
    unit = UNITS[number // 3]
    if what == 0:
        registry.register(
            name=ref, parents=base, relation=("adapter", "finetune")[number % 2],
            fitness={niche: number / 10}, power=serving(number, unit),
        )  # fmt: skip
    elif what == 1:
        registry.register(
            name=ref, digest=f"{own:064x}", parameters=10**number, fitness={niche: 0.5},
            place=f"/elsewhere/{ref}", precision=("INT8", None)[number % 2],
        )  # fmt: skip
    elif what == 2:
        registry.score(ref, niche, number / 10, n=100 if number > 2 else None)
    elif what == 3:
        registry.meter(ref, serving(number, unit, meter=f"meter {number}"))
    elif what == 4:
        registry.link(ref, base, relation=("adapter", "finetune")[number % 2])
    elif what == 5:
        registry.unlink(ref, base)
    elif what == 6:
        registry.retract(ref, "wrong", niche=niche)
    elif what == 7:
        registry.retract(ref, "wrong", cost="serving", per=unit)
    elif what == 8:
        registry.retract(ref, "wrong")
    elif what == 9:
        last = registry.get(ref)
        events = registry.record(last).events
        registry.undo(events[-1].id)
    elif what == 10:
        registry.select(apply=True)
    elif what == 11:
        registry.revive(ref)
    elif what == 12:
        registry.register_many([
            {"name": ref, "fitness": {niche: 0.3}, "power": serving(number, "request")},
            {"name": f"{ref}-b", "parents": ref, "relation": "adapter",
             "fitness": [Score(niche, 0.2), Score(niche, 0.4)], "power": serving(1, "request")},
        ])  # fmt: skip
    else:
        registry.register(digest=f"{own:064x}", fitness={niche: 0.7})


@settings(max_examples=sound.EXAMPLES // 3)
@given(operations=OPERATIONS)
def test_standings_follow_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[int, int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    with lineage.open(folder / "r.db", durable=False) as registry:
        for operation in operations:
            try:
                act(registry, *operation)
            except LineageError:
                continue
            with registry.database.read() as connection:
                sound.check_standings(connection)
        assert not [one for one in registry.doctor().findings if one.check == "standings"]
        with registry.database.read() as connection:
            lines = list(jsonl.export(connection))
    with lineage.open(folder / "other.db", durable=False) as other:
        jsonl.import_lines(other.store, lines)
        with other.database.read() as connection:
            sound.check_standings(connection)
