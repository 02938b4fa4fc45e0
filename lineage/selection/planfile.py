"""Plans on paper: a plan as a file that a colleague can read, and that is applied exactly as it
stands, or not at all when what it rests on has changed since."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from lineage import ledger
from lineage.database import Connection
from lineage.errors import InvalidValue, LineageError, NotFound
from lineage.organism import Organism
from lineage.references import resolve
from lineage.selection import plan as plans
from lineage.selection import policy as policies
from lineage.selection.plan import Decision
from lineage.selection.policy import Policy
from lineage.store import EPOCH, now

FORMAT = "lineage plan 1"
NAMED = 10
"""How many changes a refusal names."""


class Outdated(LineageError):
    """A plan cannot be applied: the registry changed in a way that matters. `changes` names how."""

    def __init__(self, message: str, changes: list[str]) -> None:
        super().__init__(message)
        self.changes = tuple(changes)


def write(connection: Connection, decision: Decision, file: str | os.PathLike[str]) -> int:
    """Write a plan as JSON, to a new file, else InvalidValue. How many organisms it names."""
    ids = list(decision.proposed)
    document = {
        "format": FORMAT,
        "made": (EPOCH + timedelta(microseconds=now())).isoformat(),
        "policy": policies.plain(decision.policy),
        "select": [_entry(one) for one in plans.proposals(connection, ids, decision)],
        "revive": [_identity(one) for one in ledger.organisms(connection, decision.revive)],
    }
    try:
        with open(file, "x", encoding="utf-8") as out:
            json.dump(document, out, ensure_ascii=False, indent=1, allow_nan=False)
            out.write("\n")
    except FileExistsError:
        raise InvalidValue(f"{file} is there already. Choose another name.") from None
    return len(ids) + len(decision.revive)


def _identity(organism: Organism) -> dict[str, Any]:
    return {"ref": organism.ref, "digest": organism.digest}


def _entry(one: plans.Proposal) -> dict[str, Any]:
    return {
        **_identity(one.organism),
        "rule": one.rule,
        "place": one.place,
        "bytes": one.frees.bytes,
        "reasons": [reason.body() for reason in one.reasons],
    }


def read(file: str | os.PathLike[str]) -> tuple[Policy, Mapping[str, Any]]:
    """The policy of a plan, and the document. InvalidValue where the file is no plan."""
    try:
        document = json.loads(Path(file).read_text("utf-8"))
        known = isinstance(document, dict) and document.get("format") == FORMAT
    except ValueError:
        known = False
    if not known:
        raise InvalidValue(f"{file} is no plan of this lineage. `select --write-plan` makes one.")
    try:
        policy = policies.of_plain(document["policy"])
        complete = all(
            isinstance(one["ref"], str) for one in [*document["select"], *document["revive"]]
        ) and all(
            isinstance(reason["niche"], str) and isinstance(reason["per"], str)
            for one in document["select"] if one["rule"] for reason in one["reasons"]
        )  # fmt: skip
    except (KeyError, TypeError):
        complete = False
    except InvalidValue as error:
        raise InvalidValue(f"the policy in {file} cannot be read: {error}") from None
    if not complete:
        raise InvalidValue(f"{file} is a plan with parts missing. Make a new one.")
    return policy, document


def decide(connection: Connection, file: str | os.PathLike[str]) -> Decision:
    """Exactly what a plan decided, from the registry of today. Outdated, with what changed, where
    an organism of it would be decided otherwise, or for other numbers."""
    policy, document = read(file)
    today = plans.decide(connection, policy)
    wanted, kept = {}, dict(today.kept)
    changes = []
    for entry in document["select"]:
        own = _found(connection, entry)
        if own is None:
            changes.append(f"{entry['ref']} is not there any more")
        else:
            wanted[own] = entry
    ids = [own for own in wanted if own in today.proposed]
    told = {one.organism.id: one for one in plans.proposals(connection, ids, today)}
    for own, entry in wanted.items():
        if own not in told:
            why = f" ({kept[own]})" if own in kept else ""
            changes.append(f"{entry['ref']} would not be proposed any more{why}")
        elif difference := _difference(entry, _entry(told[own])):
            changes.append(f"{entry['ref']}: {difference}")
    revive = []
    for entry in document["revive"]:
        own = _found(connection, entry)
        if own is None or own not in today.revive:
            changes.append(f"{entry['ref']} would not be revived any more")
        else:
            revive.append(own)
    if changes:
        more = f"; and {len(changes) - NAMED:,} more" if len(changes) > NAMED else ""
        raise Outdated(
            f"the registry changed since {file} was made: {'; '.join(changes[:NAMED])}{more}. "
            "Nothing is marked. Make a new plan.",
            changes,
        )
    return Decision(
        {own: today.proposed[own] for own in wanted}, today.kept, revive, today.spent,
        today.sweep, policy,
    )  # fmt: skip


def _found(connection: Connection, entry: Mapping[str, Any]) -> int | None:
    try:
        own = resolve(connection, entry["ref"])
    except NotFound:
        return None
    (organism,) = ledger.organisms(connection, [own])
    return own if organism.digest == entry.get("digest") else None


def _difference(then: Mapping[str, Any], today: Mapping[str, Any]) -> str:
    """What is decided otherwise, in words; empty for nothing."""
    if then["rule"] != today["rule"]:
        return f"rule {today['rule']}, not {then['rule']}"
    before, after = ({(r["niche"], r.get("split"), r["per"]): r for r in one["reasons"]}
                     for one in (then, today))  # fmt: skip
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old != new:
            what = next(
                (f"{part} was {(old or {}).get(part)}, is {(new or {}).get(part)}"
                 for part in ("value", "by", "by_value", "joules", "by_joules", "stderr", "n")
                 if (old or {}).get(part) != (new or {}).get(part)),
                "another reason",
            )  # fmt: skip
            return f"in {key[0]}, {what}"
    return ""
