"""What an organism takes on disk, table by table."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bench import raw
from bench.timing import Figure, figure


def bytes_each(path: Path, size: int, scratch: Path) -> list[Figure]:
    """Bytes an organism after VACUUM: by dbstat where SQLite has it, else the pages
    left without the events."""
    compact = scratch / "compact.db"
    connection = raw.connect(path)
    connection.execute("VACUUM INTO ?", (str(compact),))
    connection.close()
    connection = raw.connect(compact, "OFF")
    whole = _pages(connection)
    try:
        parts = dict(
            connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
        )
        events = sum(parts.get(one, 0) for one in ("event", "event_organism", "event_mark"))
    except sqlite3.OperationalError:  # an SQLite built without it
        connection.execute("DROP TABLE event")
        connection.execute("VACUUM")
        parts, events = {}, whole - _pages(connection)
    connection.close()
    compact.unlink()
    each, with_events = (whole - events) / size, whole / size
    largest = sorted(parts.items(), key=lambda part: -part[1])[:12]
    return [
        Figure(
            f"bytes an organism, events apart ({size:,} organisms)",
            "≤ 450",
            figure(each),
            each <= 450,
            {name: total / size for name, total in sorted(parts.items())},
            "Without free pages. An organism holds a name, a digest, parameters, bytes and "
            "precision, one score, one serving cost, and for 7 in 10 a parent; no place and no "
            "files. "
            + ", ".join(f"{name} {total / size:.0f}" for name, total in largest if total >= size),
        ),
        Figure("with events", "≤ 1,200", figure(with_events), with_events <= 1200, {}),
    ]


def _pages(connection: sqlite3.Connection) -> int:
    pages, size = (
        connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size")
    )
    return int(pages * size)
