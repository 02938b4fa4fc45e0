"""What happened since a policy was applied: the niches that are to be judged again, and no others.
Section 6 of docs/selection.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lineage import standings
from lineage.database import Connection
from lineage.selection import policy as policies
from lineage.selection.policy import Policy
from lineage.store import EPOCH, Act

APPLIED = "selected"
"""The kind of the event that an application of a plan leaves, of no organism."""

PARTIAL = ("pulled",)
"""Events of no organism that tell of no change by themselves. After any other, all may be new."""

ALONE = {
    "scored", "tagged", "aliased", "unaliased", "named", "renamed", "protected", "unprotected",
    "leased", "released", "selected_against", "revived", "placed", "moved", "gone",
}  # fmt: skip
"""Events after which serving costs what it did. Others may change what it costs to serve whoever
needs the organism to run."""


@dataclass(frozen=True, slots=True)
class News:
    """What happened since `at`: the `organisms` that events tell of, and the `niches` where a
    standing may be another now: theirs, and those of all that need them to run."""

    at: datetime
    organisms: Sequence[int]
    niches: Sequence[int]


def since_applied(connection: Connection, policy: Policy) -> News | None:
    """What happened since a policy was applied last; None where it never was, or where anything may
    have changed since. Linear in what happened."""
    last = _last_applied(connection, policy)
    if last is None:
        return None
    event, at = last
    own, costs_too = set(), set()
    for organism, kind in connection.execute(
        "SELECT e.organism, e.kind FROM event e WHERE e.id > ?", (event,)
    ):
        if organism is not None:
            own.add(organism)
            if kind not in ALONE:
                costs_too.add(organism)
        elif kind not in (APPLIED, *PARTIAL):
            return None
    around = own.union(standings.with_dependents(connection, costs_too))
    niches = standings.niches(connection, around)
    return News(EPOCH + timedelta(microseconds=at), sorted(own), niches)


def _last_applied(connection: Connection, policy: Policy) -> tuple[int, int] | None:
    """The event of the last application of a policy with these very settings, and its time."""
    settings = _settings(policy)
    for event, at, body in connection.execute(
        """SELECT e.id, e.at, e.body FROM event e WHERE e.organism IS NULL AND e.kind = ?
           ORDER BY e.id DESC""",
        (APPLIED,),
    ):
        told = json.loads(body)
        if told.get("policy") == policy.name and told.get("settings") == settings:
            return event, at
    return None


def _settings(policy: Policy) -> Mapping[str, Any]:
    """What a policy sets otherwise than by default, as JSON reads it again."""
    usual = policies.plain(Policy(policy.name))
    set_ = {key: one for key, one in policies.plain(policy).items() if one != usual[key]}
    found: Mapping[str, Any] = json.loads(json.dumps(set_))
    return found


def applied(act: Act, policy: Policy, run: str, marked: int, revived: int) -> None:
    """Note that a policy was applied. What comes later is news. Where nothing happened since the
    last time, nothing is noted."""
    if not (marked or revived):
        news = since_applied(act.connection, policy)
        if news is not None and not news.organisms:
            return
    body = {"policy": policy.name, "run": run, "marked": marked, "revived": revived}
    act.event(None, APPLIED, {**body, "settings": _settings(policy)})
