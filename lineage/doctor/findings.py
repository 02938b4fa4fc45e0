"""What an examination found: a finding for each check, with what it means and what mends it. Every
sentence of a finding stands in WORDS."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from lineage.answers import Answer
from lineage.database import Connection
from lineage.references import candidates

Progress = Callable[[str, int, int], object]
"""Told what is looked at, and how much of how much is done: checks, files, or bytes hashed."""

EXAMPLES = 20
"""How many examples a finding holds."""

REPAIR = "`lineage doctor --repair --apply`"
RESTORE = "`lineage db restore FILE` brings a backup back"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: which `check` found it, how many, what it means in a sentence, examples, and
    the command that mends it. `derived`: `repair` rebuilds it from what is recorded."""

    check: str
    count: int
    meaning: str
    examples: tuple[str, ...]
    mend: str
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Checkup(Answer):
    """What an examination found. `skipped` are checks that make no sense before what was found is
    mended. `counts` tells what was looked at: organisms, ghosts, links, scores, costs, events; and
    places, files, hashed bytes, and the places on other hosts, which nobody can look at from here;
    `waiting` are records of training runs that have not come in.
    `snapshot` is `fresh`, `stale` (or missing in a registry that is large) or `none`: no fault,
    since a question then takes the long way.
    `seconds` is how long it took."""

    _rows: ClassVar[str] = "findings"

    registry: str
    schema: str
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]
    counts: Mapping[str, int]
    snapshot: str
    seconds: float

    @property
    def sound(self) -> bool:
        return not self.findings


WORDS = {
    "damaged": (
        "The file of the registry is damaged: SQLite cannot read all of it, and answers may be "
        "wrong.",
        f"{RESTORE}; `lineage export --output FILE` saves what can still be read",
    ),
    "schema": ("Parts of the schema are not there: what they held is lost.", RESTORE),
    "indexes": (
        "Indexes are not there: questions take long, and what must be unique is not guarded.",
        REPAIR,
    ),
    "triggers": (
        "Guards are not there: nothing stops a circle of links, or a change of the history.",
        REPAIR,
    ),
    "references": (
        "Rows point to rows that are not there: what they tell belongs to nobody.",
        RESTORE,
    ),
    "circles": (
        "Organisms descend from themselves: in and below the circle there is no order of "
        "generations.",
        "`lineage unlink {} {}`, or another link of the circle that is wrong",
    ),
    "ranks": (
        "Generations or jumps do not follow from the links: ancestry is answered wrongly, and a "
        "circle of links may not be refused.",
        REPAIR,
    ),
    "evidence": (
        "Links have no evidence: nobody says how they are known.",
        "`lineage link {} {}` declares one; where the link is wrong, `lineage unlink` then takes "
        "it away",
    ),
    "relations": (
        "Links have another relation or weight than their strongest evidence says.",
        REPAIR,
    ),
    "current": (
        "Of several scores or rates, others than the latest are said to count, or what was "
        "retracted: lists, selection "
        "and clades take wrong numbers.",
        REPAIR,
    ),
    "standings": (
        "Standings are not what scores, costs and links make of them: who is best for what it "
        "costs is answered wrongly, and selection judges by wrong numbers.",
        REPAIR,
    ),
    "here": (
        "Organisms are said to have files on a disk, and no place of theirs is on one; or the "
        "other way round.",
        REPAIR,
    ),
    "hashes": (
        "Places are not under the hash of their URI: nobody finds who is there.",
        REPAIR,
    ),
    "names": (
        "Organisms have names, and none of them first: they are shown without a name.",
        "`lineage rename {} NAME`",
    ),
    "aliases": (
        "Aliases of a name lead to organisms that do not bear it.",
        "`lineage alias REF {}` gives it to a version of {}",
    ),
    "absorbed": (
        "Organisms that became one with another hold something of their own, which nobody sees.",
        f"{RESTORE}. This should not happen: please report it",
    ),
    "unknown": (
        "Organisms have neither a name nor a digest nor a place: nothing can be said of them.",
        RESTORE,
    ),
    "events": (
        "Events hold no JSON object: the history of their organisms cannot be shown.",
        RESTORE,
    ),
    "chain": (
        "The history was changed behind lineage's back: events do not follow from those before "
        "them. What it tells from there on is not what was written.",
        f"{RESTORE}, from before it was changed; nothing mends a history",
    ),
    "head": (
        "The history does not lead through the head that was kept: it was cut, or written anew, "
        "since that was kept. Or it is the head of another registry.",
        f"{RESTORE}, from the time when the head was kept",
    ),
    "snapshot": (
        "The interval snapshot does not hold who was there when it was made: large clades are "
        "counted wrongly.",
        REPAIR,
    ),
    "set_aside": (
        "What training runs recorded could not be accepted, each record for its own reason.",
        "`lineage sync {}` tries again, once the reason is gone; a record that nobody wants can be "
        "deleted",
    ),
    "places": (
        "Checkpoints are not where they were registered on this host: moved, deleted, or on a disk "
        "that is not mounted.",
        "`lineage relocate OLD NEW` where they were moved; else mount the disk, or copy them back",
    ),
    "missing": (
        "Files are missing from checkpoints that are there: these are not whole.",
        "copy them back from another place; `lineage show REF` names the places",
    ),
    "changed": (
        "Files are not what was registered: overwritten, cut short, or damaged.",
        "copy the registered bytes back from another place; where the new ones are meant, "
        "`lineage register PATH` records them",
    ),
    "quarantine": (
        "Quarantine folders do not hold what `cull` put there, or a cull was interrupted.",
        "`lineage restore` puts back what is there; mount the disk where a folder is missing",
    ),
    "touched": (
        "Files have the size that was registered, and were written at another time: copied, or "
        "overwritten with other bytes.",
        "`lineage doctor --deep` reads them and tells; where they are right, `lineage register "
        "PATH` records the new time",
    ),
    "unreadable": (
        "Files cannot be read, so nobody knows what is in them.",
        "check the permissions and the disk: `ls -ld PATH`",
    ),
}
"""By check: what its finding means, and what mends it."""


def finding(
    check: str, count: int, examples: Iterable[str], names: Sequence[str] = ()
) -> list[Finding]:
    """The finding of a check, where there is something to find; `names` go into what mends it."""
    if not count:
        return []
    meaning, mend = WORDS[check]
    some = tuple(islice(examples, EXAMPLES))
    written = mend.format(*map(shlex.quote, names))
    return [Finding(check, count, meaning, some, written, mend == REPAIR)]


def label(connection: Connection, own: int) -> str:
    """A reference to an organism, which may not be there."""
    found = candidates(connection, [own])
    return found[0] if found else f"#{own}"


def about_links(
    connection: Connection, check: str, pairs: Sequence[tuple[int, int]]
) -> list[Finding]:
    """The finding of links that are wrong, as (child, parent)."""
    known = [tuple(label(connection, own) for own in pair) for pair in pairs[:EXAMPLES]]
    examples = (f"{child} from {parent}" for child, parent in known)
    return finding(check, len(pairs), examples, known[0] if known else ())


def about_organisms(connection: Connection, check: str, wrong: str) -> list[Finding]:
    """The finding of a query whose rows are the organisms that are wrong, some more than once."""
    ids = [row[0] for row in connection.rows(wrong)]
    examples = [label(connection, own) for own in islice(dict.fromkeys(ids), EXAMPLES)]
    return finding(check, len(ids), examples, examples[:1])
