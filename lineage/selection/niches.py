"""Niches as they are populated: how many compete in each, who is on its front, who is its champion
at what cost, and which niches have none that is cheap enough (the coverage of MAP-Elites: Mouret
and Clune 2015, arXiv:1504.04909)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from lineage import ledger
from lineage.answers import Answer
from lineage.database import Connection
from lineage.errors import InvalidValue
from lineage.organism import Niche, Organism
from lineage.selection import front as fronts
from lineage.selection.front import VERDICTS, Sweep
from lineage.selection.policy import FRONTIER, Policy

MOST = 5_000
"""How many organisms a picture shows; the front is always whole."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A cost that a champion may have at most: joules per `per`."""

    joules: float
    per: str


_PREFIXES = {"": 1.0, "p": 1e-12, "n": 1e-9, "µ": 1e-6, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}
_UNITS = {"tok": "token", "char": "character"}


def limit_of(written: str) -> Limit:
    """`50 mJ/image`, `6.4 J/Mtok`. InvalidValue for anything else."""
    match = re.fullmatch(
        r"\s*([\d.]+(?:[eE][+-]?\d+)?)\s*([pnµumkM]?)J/(M?)"
        r"(tok|token|char|character|request|image)s?\s*",
        written,
    )
    try:
        if match:
            number = float(match[1]) * _PREFIXES[match[2]] / (1e6 if match[3] else 1.0)
            return Limit(number, _UNITS.get(match[4], match[4]))
    except ValueError:
        pass
    raise InvalidValue(f"{written!r} is no cost. Write joules a unit, like 50 mJ/image, 6 J/Mtok.")


@dataclass(frozen=True, slots=True)
class Population:
    """A niche, in one unit of cost: how many of the living compete, how many of them are on the
    front, contested or obsolete, and how many are marked. `champion` is the fittest of the front
    (of those within the limit that was asked for), None where there is none."""

    niche: Niche
    direction: str
    per: str
    living: int
    front: int
    contested: int
    obsolete: int
    marked: int
    champion: Organism | None
    value: float | None
    stderr: float | None
    n: int | None
    joules: float | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Member:
    """An organism in a niche: its score with errors, its cost, and how it stands: `front`,
    `contested`, `obsolete`, or `marked` (selected against)."""

    organism: Organism
    value: float
    stderr: float | None
    n: int | None
    per: str
    joules: float
    source: str
    state: str


@dataclass(frozen=True, slots=True)
class Competition(Answer):
    """All who compete in a niche, by unit of cost, from the cheapest; the front whole, and of the
    others at most as many as were asked for. `counts` says how many there are of each state."""

    _rows: ClassVar[str] = "members"

    niche: Niche
    direction: str
    counts: dict[str, int]
    members: tuple[Member, ...]


def populations(
    connection: Connection, policy: Policy = FRONTIER, below: Limit | None = None
) -> list[Population]:
    """All niches with a known direction, the most crowded first. With `below` the champion is the
    fittest that costs no more, and a niche without one has none."""
    import numpy as np

    sweep = fronts.sweep(connection, policy)
    known = fronts.niches(connection)
    c = sweep.columns
    rows: list[tuple[Any, ...]] = []
    kept: set[int] = set()
    for (niche, per), part in _parts(sweep):
        if below is not None and fronts.PERS[per] != below.per:
            continue
        living = part[~c["marked"][part]]
        verdicts = np.bincount(sweep.verdict[living], minlength=3).tolist()
        able = living[sweep.verdict[living] == 0]
        if below is not None:
            able = living[c["joules"][living] <= below.joules]
        best = None
        if len(able):
            order = np.lexsort((c["organism"][able], c["joules"][able], -c["fit"][able]))
            best = int(able[order[0]])
            kept.add(int(c["organism"][best]))
        rows.append((niche, per, len(living), verdicts, len(part) - len(living), best))
    named = {one.id: one for one in ledger.organisms(connection, sorted(kept))}
    found = [_population(sweep, known, named, *row) for row in rows]
    return sorted(found, key=lambda one: (-one.living, str(one.niche), one.per))


def _population(
    sweep: Sweep,
    known: dict[int, tuple[Niche, str | None]],
    named: dict[int, Organism],
    niche: int,
    per: int,
    living: int,
    verdicts: Sequence[int],
    marked: int,
    best: int | None,
) -> Population:
    name, direction = known[niche]
    champion = None if best is None else sweep.standing(best)
    return Population(
        niche=name,
        direction=str(direction),
        per=fronts.PERS[per],
        living=living,
        front=verdicts[0],
        contested=verdicts[1],
        obsolete=verdicts[2],
        marked=marked,
        champion=None if champion is None else named[champion.organism],
        value=None if champion is None else fronts.value_of(champion, direction),
        stderr=None if champion is None else champion.stderr,
        n=None if champion is None else champion.n,
        joules=None if champion is None else champion.joules,
        source=None if champion is None else champion.source,
    )


def _parts(sweep: Sweep) -> list[tuple[tuple[int, int], Any]]:
    """The rows of each niche and unit, whatever the kind of cost."""
    import numpy as np

    c = sweep.columns
    if not len(sweep):
        return []
    new = (c["niche"][1:] != c["niche"][:-1]) | (c["per"][1:] != c["per"][:-1])
    starts = np.r_[0, np.flatnonzero(new) + 1, len(sweep)]
    return [
        ((int(c["niche"][start]), int(c["per"][start])), np.arange(start, end))
        for start, end in pairwise(starts)
    ]


def competition(
    connection: Connection, niche: Niche, policy: Policy = FRONTIER, most: int | None = MOST
) -> Competition:
    """Who competes in a niche. NotFound where nobody was scored in it, InvalidValue where it is not
    known which way is better."""
    import numpy as np

    own, direction = ledger.niche_id(connection, niche)
    if direction is None:
        raise InvalidValue(
            f"it is not known whether a higher or a lower {niche} is better, so nobody competes. "
            "`lineage score` with --direction says it, once."
        )
    sweep = fronts.within(connection, own, policy)
    c = sweep.columns
    marked, verdict = c["marked"], sweep.verdict
    counts = {
        name: int(np.count_nonzero((verdict == code) & ~marked))
        for code, name in enumerate(VERDICTS)
    }
    counts["marked"] = int(np.count_nonzero(marked))
    on_front = np.flatnonzero((verdict == 0) & ~marked)
    rest = np.flatnonzero((verdict != 0) | marked)
    if most is not None and len(rest) > max(0, most - len(on_front)):
        room = max(0, most - len(on_front))
        rest = rest[np.linspace(0, len(rest) - 1, room).astype(int)] if room else rest[:0]
    rows = np.r_[on_front, rest]
    order = (c["organism"][rows], -c["fit"][rows], c["joules"][rows], c["per"][rows])
    rows = rows[np.lexsort(order)]
    ids = c["organism"][rows].tolist()
    named = {one.id: one for one in ledger.organisms(connection, sorted(set(ids)))}
    members = []
    for row in rows.tolist():
        one = sweep.standing(row)
        state = "marked" if marked[row] else VERDICTS[verdict[row]]
        members.append(Member(
            named[one.organism], fronts.value_of(one, direction), one.stderr, one.n, one.per,
            one.joules, one.source, state,
        ))  # fmt: skip
    return Competition(niche, direction, counts, tuple(members))
