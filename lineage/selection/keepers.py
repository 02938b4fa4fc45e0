"""Whom a policy may propose at all (its scope), and whom it keeps: sections 4.3 and 4.5 of
docs/selection.md. Each question is a statement over the living, whose answers are ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from lineage import ledger
from lineage.clades import members
from lineage.database import Connection
from lineage.references import resolve
from lineage.selection import front as fronts
from lineage.selection.policy import FRONTIER, KeepBest, Policy

MADE = "coalesce(o.created, o.registered)"
LIVING = "o.status = 'alive' AND o.ghost = 0 AND o.same_as IS NULL"


def in_scope(connection: Connection, policy: Policy, at: int) -> set[int] | None:
    """The living whom a policy may propose, None for all."""
    scope, found = policy.scope, []
    if scope.name is not None:
        found.append(_named(connection, scope.name))
    if scope.run is not None:
        glob, pattern = ledger.name_like(connection, scope.run)
        sql = f"SELECT o.id FROM organism o WHERE o.run {glob} AND {LIVING}"
        found.append(_ids(connection, sql, pattern))
    if scope.tag is not None:
        found.append(_tagged(connection, scope.tag))
    if scope.clade is not None:
        found.append(set(members(connection, resolve(connection, scope.clade))))
    if scope.age is not None:
        sql = f"SELECT o.id FROM organism o WHERE {MADE} < ? AND {LIVING}"
        found.append(_ids(connection, sql, at - int(scope.age * 1e6)))
    return set.intersection(*found) if found else None


def _ids(connection: Connection, sql: str, *params: object) -> set[int]:
    return {row[0] for row in connection.rows(sql, params)}


def _named(connection: Connection, pattern: str) -> set[int]:
    glob, written = ledger.name_like(connection, pattern)
    return _ids(connection, f"SELECT n.organism FROM name n WHERE n.name {glob}", written)


def _tagged(connection: Connection, tag: str) -> set[int]:
    key, equals, value = tag.partition("=")
    if not equals:
        return _ids(connection, "SELECT t.organism FROM tag t WHERE t.key = ?", key)
    sql = "SELECT t.organism FROM tag t WHERE t.key = ? AND t.value = ?"
    return _ids(connection, sql, key, value)


def listed(connection: Connection, policy: Policy) -> dict[str, set[int]]:
    """Who fits each entry of the policy's `protect`: a name, which may hold * and ?; or `tag:KEY`
    or `tag:KEY=VALUE`."""
    return {
        one: _tagged(connection, one.removeprefix("tag:"))
        if one.startswith("tag:")
        else _named(connection, one)
        for one in policy.protect
    }


def idle(connection: Connection, policy: Policy) -> Iterator[str]:
    """What a policy names that no niche and no organism fits, as it is written there: a slip of the
    pen would otherwise count fewer niches, or spare fewer organisms, than was meant."""
    niches = [niche for niche, way in fronts.niches(connection).values() if way]
    for key, patterns in (
        ("niches", policy.niches),
        ("keep_best niche", (policy.keep_best.niche,) if policy.keep_best else ()),
    ):
        for one in patterns:
            if one and not any(fronts.fits(niche, one) for niche in niches):
                yield f'{key} "{one}"'
    if policy.aliases != FRONTIER.aliases:
        sql = f"""SELECT i.id FROM {connection.texts} AS i
                  WHERE i.id NOT IN (SELECT a.alias FROM alias a)"""
        for (one,) in connection.rows(sql, (connection.pack(policy.aliases),)):
            yield f'aliases "{one}"'
    for one, fit in listed(connection, policy).items():
        if not fit:
            yield f'protect "{one}"'


def kept(connection: Connection, policy: Policy, at: int) -> dict[int, str]:
    """By organism the keeper that keeps it: `best`, `last`, `every` or `within`."""
    found: dict[int, str] = {}
    if policy.keep_within:
        sql = f"SELECT o.id FROM organism o WHERE {MADE} > ? AND {LIVING}"
        since = at - int(policy.keep_within * 1e6)
        found.update(dict.fromkeys(_ids(connection, sql, since), "within"))
    if policy.keep_every:
        sql = f"SELECT o.id FROM organism o WHERE o.run IS NOT NULL AND o.step % ? = 0 AND {LIVING}"
        found.update(dict.fromkeys(_ids(connection, sql, policy.keep_every), "every"))
    if policy.keep_last:
        sql = f"""SELECT id FROM (SELECT o.id, row_number() OVER (PARTITION BY o.run
              ORDER BY coalesce(o.step, -1) DESC, o.id DESC) AS place
            FROM organism o WHERE o.run IS NOT NULL AND {LIVING}) AS ranked WHERE place <= ?"""
        found.update(dict.fromkeys(_ids(connection, sql, policy.keep_last), "last"))
    if policy.keep_best:
        found.update(dict.fromkeys(_best(connection, policy, policy.keep_best), "best"))
    return found


def _best(connection: Connection, policy: Policy, keep: KeepBest) -> set[int]:
    """The best `n` of each group in each niche; of equals the one registered first."""
    known = fronts.niches(connection)
    sign = {
        own: -1.0 if way == "lower" else 1.0
        for own, (niche, way) in known.items()
        if way and fronts.counts(policy, niche)
        and (keep.niche is None or fronts.fits(niche, keep.niche))
    }  # fmt: skip
    founder = founders(connection) if keep.per == "clade" else {}
    groups: defaultdict[tuple[int, object], list[tuple[float, int]]] = defaultdict(list)
    for own, niche, value, run, species in connection.rows(
        f"""SELECT o.id, f.niche, f.value, o.run, o.architecture FROM organism o
            CROSS JOIN fitness f WHERE f.organism = o.id AND f.current = 1 AND {LIVING}"""
    ):
        if niche in sign:
            of = {"run": run, "species": species, "clade": founder.get(own)}
            groups[niche, of.get(keep.per or "")].append((-sign[niche] * value, own))
    return {own for group in groups.values() for _, own in sorted(group)[: keep.n]}


def backbone(connection: Connection) -> dict[int, int]:
    """The family as a tree: each organism under its first parent, that with the smallest id."""
    return dict(connection.rows("SELECT e.child, min(e.parent) FROM edge e GROUP BY e.child"))


def founders(connection: Connection) -> dict[int, int]:
    """The founder that each organism comes from on the backbone. Linear in the registry."""
    above = backbone(connection)
    found: dict[int, int] = {}
    for own in [row[0] for row in connection.rows("SELECT id FROM organism ORDER BY generation")]:
        parent = above.get(own)
        found[own] = own if parent is None else found.get(parent, parent)
    return found
