"""Registries of the shape of the public Hub, as large as asked, written straight through the
driver: the very rows that registering the same organisms leaves. Size and seed tell all of them.

The shape is that of published counts where there are any (DESIGN.md names the sources), else a
guess: 29 % founders, 3 % of the children merges, shallow trees that are wide at the top (a few
families hold most, the largest an eighth to a fifth of all), and one chain, a training run, of a
twentieth of all organisms. Each organism has a name, a digest, parameters, bytes and precision, one
score in one of 200 niches, one serving cost, and the event that says how it came."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import raw
from bench.raw import Entry, Scored
from lineage.database import creation

NICHES = tuple(
    (f"benchmark-{n:03}", *(("loss", "lower") if n % 5 == 0 else ("acc", "higher")))
    for n in range(200)
)
SIZES = (125_000_000, 500_000_000, 1_500_000_000, 3_000_000_000, 7_600_000_000, 70_000_000_000)
FAMILIES = (0.25, 0.10, 0.06, 0.04, 0.03, 0.02, 0.01, 0.01)
"""The shares of the great families in all organisms that have a parent; the rest is scattered."""

FOUNDERS = 0.285
MERGES = 0.03
CHAIN = 20  # each twentieth organism is the next step of the one long run
BATCH = 20_000


def organisms(count: int, seed: int = 1, merges: float = MERGES) -> Iterator[Entry]:
    """`count` organisms, parents first, ids from 1."""
    chance = random.Random(seed)
    draw = chance.random
    names: list[str] = [""]
    first_parent = [0]
    families: list[list[int]] = [[] for _ in FAMILIES]
    scattered: list[int] = []
    last_step = 0
    for own in range(1, count + 1):
        relation, parents = "finetune", ()
        if own % CHAIN == 0:
            name = f"big-run/step-{own // CHAIN:07}"
            relation, parents = "continue", (last_step,) if last_step else ()
            last_step = own
        else:
            stem = "base" if draw() < 0.3 else "tuned"
            name = f"lab-{int(draw() ** 2 * 9999):04}/{stem}-{own:07}"
            home = _home(draw(), families, scattered) if draw() >= FOUNDERS else None
            if home is None:
                home = next((one for one in families if not one), scattered)
            else:
                parents = (_popular(draw, home, first_parent),)
                relation = _relation(draw())
                if draw() < merges:
                    other = int(draw() * (own - 1)) + 1
                    if other not in parents:
                        relation, parents = "merge", (*parents, other)
            home.append(own)
        names.append(name)
        first_parent.append(parents[0] if parents else 0)
        yield _entry(own, name, relation, [(p, names[p]) for p in parents], draw, seed)


def _home(share: float, families: list[list[int]], scattered: list[int]) -> list[int] | None:
    """Where a child belongs: one of the great families, else the scattered; None while empty."""
    for weight, members in zip(FAMILIES, families, strict=True):
        share -= weight
        if share < 0:
            return members or None
    return scattered or None


def _popular(draw, members: list[int], first_parent: list[int]) -> int:
    """A parent: some member of the family, or as often that member's own parent, so that who has
    many children gets more (R. Kumar et al. 2000, the copying model of the web)."""
    one = members[int(draw() * len(members))]
    return first_parent[one] if draw() < 0.5 and first_parent[one] else one


def _relation(share: float) -> str:
    return "finetune" if share < 0.45 else "adapter" if share < 0.72 else "quantized"


def _entry(
    own: int, name: str, relation: str, parents: list, draw, seed: int, counted: bool = True
) -> Entry:
    task, metric, direction = NICHES[int(draw() ** 2 * len(NICHES))]
    size = SIZES[int(draw() * len(SIZES))]
    skill = draw()
    value = round(4 - 3 * skill if direction == "lower" else skill, 6)
    return Entry(
        id=own,
        name=name,
        digest=hashlib.sha256(b"%d/%d" % (seed, own)).digest(),
        parents=tuple(parents),
        relation=relation,
        scores=(Scored(task, metric, value, direction),),
        power=("serving", "token", float(f"{size * 2.6e-12 * (0.5 + draw()):.6g}"), "estimated"),
        parameters=size if counted else None,
        bytes=2 * size,
        precision="BF16" if counted else None,
    )


def chain(length: int, branch_at: int) -> Iterator[Entry]:
    """A chain of `length` organisms, and a second arm as long that leaves it at `branch_at`: the
    first arm ends in id `length`, the second in id 2 * length - branch_at."""
    draw = random.Random(length).random
    names = [""]
    for own in range(1, 2 * length - branch_at + 1):
        names.append(f"run-{length}/step-{own:07}")
        parent = branch_at if own == length + 1 else own - 1
        parents = [(parent, names[parent])] if parent else []
        yield _entry(own, names[own], "continue", parents, draw, length)


RELATIONS = (("adapter", 0.426), ("finetune", 0.785), ("quantized", 0.977), ("merge", 1.0))
"""Of those that name a parent, up to this share (2,161,698 models of the Hub in October 2025:
42.6 / 35.9 / 19.2 / 2.3 %)."""
NAMING = 0.2809
MEASURED = 0.234
"""The share of the Hub that names a parent, and the one whose parameters are known."""


def hub(count: int, seed: int = 3) -> Iterator[Entry]:
    """`count` organisms in the proportions of the public Hub: 72 % without a parent, the relations
    of the rest in RELATIONS. Who is older is the more likely parent (a guess, as are the scores
    and costs, which every organism has so that a selection has much to do). Holds no list of
    what was made, so that any number can be asked for."""
    draw = random.Random(seed).random
    for own in range(1, count + 1):
        relation, parents = "finetune", set()
        if own > 1 and draw() < NAMING:
            share = draw()
            relation = next(name for name, upto in RELATIONS if share < upto)
            for _ in range(2 if relation == "merge" else 1):
                parents.add(1 + int((own - 1) * draw() ** 3))
        above = [(parent, _repo(parent)) for parent in sorted(parents)]
        yield _entry(own, _repo(own), relation, above, draw, seed, draw() < MEASURED)


def _repo(own: int) -> str:
    return f"user-{own % 9973}/model-{own}-7b"


def write(path: Path, entries: Iterator[Entry], events: bool = True) -> int:
    """A registry at `path` with these organisms: bulk rows first, indices and triggers after. How
    many it holds. Without `events` it has no history."""
    connection = raw.connect(path, "OFF")
    connection.execute("PRAGMA journal_mode=OFF")  # a registry of one use: nothing to roll back to
    connection.execute("PRAGMA cache_size=-524288")
    first, after = _in_two_parts(creation("sqlite"))
    for statement in first:
        connection.execute(statement)
    connection.execute("PRAGMA foreign_keys=OFF")  # every row is known to be right
    writer = raw.Writer(connection, raw.Ranks(), events)
    while batch := list(islice(entries, BATCH)):
        writer.register_many(batch)
    for statement in after:
        connection.execute(statement)
    count = len(writer.ranks) - 1
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    path.chmod(0o600)
    return count


def _in_two_parts(statements: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The creation statements, and those that are cheaper once the rows are there. The index that
    interning a niche or an actor needs is made at once."""
    later = ("CREATE INDEX", "CREATE UNIQUE INDEX", "CREATE TRIGGER")
    after = [s for s in statements if s.strip().startswith(later)]
    return [s for s in statements if s not in after], after


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder, gone afterwards."""
    with TemporaryDirectory(prefix="lineage-bench-") as made:
        yield Path(made)


def largest_clades(connection: sqlite3.Connection) -> list[int]:
    """The founders with the most children: among them those of the great families."""
    return [
        row[0]
        for row in connection.execute(
            """SELECT e.parent FROM edge e JOIN organism o ON o.id = e.parent
               WHERE o.generation = 0 GROUP BY e.parent ORDER BY count(*) DESC LIMIT 8"""
        )
    ]
