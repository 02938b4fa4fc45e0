"""What is to be registered: plain values, as scripts and commands give them, made into a checked
Registration. Every bad value ends here; nothing is read or written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lineage import configurations
from lineage.errors import InvalidValue
from lineage.organism import KINDS as ORGANISM_KINDS
from lineage.organism import (
    RELATIONS,
    File,
    Organism,
    Parent,
    PowerCost,
    Score,
    finite,
    one_of,
    text,
    utc,
    whole,
)
from lineage.references import digest_bytes, is_local, place_uri, this_host
from lineage.store import check_alias, micros

FACTS = (
    "parameters",
    "bytes",
    "architecture",
    "precision",
    "licence",
    "run",
    "step",
    "created",
)
WHOLE_FACTS = ("parameters", "bytes", "step")


@dataclass(slots=True)
class Registration:
    """What is to be registered, checked: see `registration`, which makes one from plain values."""

    name: str | None = None
    version: int | None = None
    digest: bytes | None = None
    places: tuple[tuple[str, str | None], ...] = ()
    files: Mapping[str, Sequence[File]] = field(default_factory=dict)  # by place
    parents: tuple[Parent, ...] = ()
    relation: str | None = None
    scores: tuple[Score, ...] = ()
    power: tuple[PowerCost, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    epigenetic: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    configuration: configurations.Documents = field(default_factory=dict)
    ghost: bool = False
    lost: bool = False  # its files went before anybody read them: no other organism is this one
    exact: bool = False  # the names of its parents are exact, as on the Hub: no evidence `named`
    # What only an import brings. It tells of another registry: there, a name has the version that
    # it has, a path is on some other disk, and its own events say what happened.
    imported: bool = False
    status: str = "alive"
    protected: bool = False
    registered: int | None = None
    retracted: str | None = None
    gone: Mapping[str, int] = field(default_factory=dict)
    culled: Mapping[tuple[str, str], tuple[str, int, int | None]] = field(default_factory=dict)
    more_names: tuple[tuple[str, int], ...] = ()
    leases: tuple[tuple[str, int], ...] = ()
    events: tuple[tuple[str, int, tuple[str, str, int, str], str], ...] = ()


def registration(
    *,
    name: str | None = None,
    digest: str | None = None,
    place: Any = None,
    files: Sequence[File] = (),
    parents: Any = None,
    relation: str | None = None,
    fitness: Any = None,
    power: Any = None,
    tags: Mapping[str, Any] | None = None,
    aliases: str | Iterable[str] | None = None,
    kind: str = "genomic",
    configuration: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Registration:
    """A Registration from the plain values that `Registry.register` takes. Every bad value is an
    InvalidValue that names it; nothing is written."""
    if relation is not None:
        one_of(relation, RELATIONS, "relation")
    unknown = facts.keys() - FACTS
    if unknown:
        raise InvalidValue(
            f"{', '.join(sorted(unknown))}: register knows no such thing. It knows: "
            f"{', '.join(FACTS)}; anything else can be a tag."
        )
    new = Registration(
        name=None if name is None else text(name, "name"),
        digest=None if digest is None else digest_bytes(digest),
        parents=as_parents(parents),
        relation=relation,
        scores=as_scores(fitness),
        power=as_power(power),
        aliases=tuple(map(check_alias, _several(aliases))),
        epigenetic=one_of(kind, ORGANISM_KINDS, "kind") == "epigenetic",
        facts=as_facts(facts),
        configuration=configurations.documents(configuration),
    )
    if tags:
        if not isinstance(tags, Mapping):
            raise InvalidValue(f"{tags!r} are no tags. Give tags={{'team': 'vision'}}.")
        new.tags = {text(k, "tag"): text(str(v), "the value of a tag") for k, v in tags.items()}
    if place is not None:
        new.places = tuple((uri, this_host() if is_local(uri) else None)
                           for uri in map(place_uri, _several(place)))  # fmt: skip
    if files:
        new.files = {new.places[0][0]: files}
    if new.name is None and new.digest is None and not new.places:
        raise InvalidValue("an organism needs a path, a name, a digest or a place to be known by.")
    if new.aliases and new.name is None:
        raise InvalidValue("an alias belongs to a name: give the name too.")
    return new


def as_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for key, value in facts.items():
        if value is None:
            continue
        if key in WHOLE_FACTS:
            known[key] = whole(value, key)
        elif key == "created":
            known[key] = micros(utc(value, key))
        else:
            known[key] = text(value, key)
    return known


def _several(value: Any) -> Iterable[Any]:
    """One value, several, or none, as several."""
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple, set, frozenset)) else (value,)


def as_parents(parents: Any) -> tuple[Parent, ...]:
    if isinstance(parents, Mapping):  # {reference: weight}
        return tuple(Parent(ref, weight=finite(w, f"the weight of {ref!r}"))
                     for ref, w in parents.items())  # fmt: skip
    found = tuple(one if isinstance(one, Parent) else Parent(one) for one in _several(parents))
    for one in found:
        if isinstance(one.ref, str):
            text(one.ref, "a reference to a parent")
        elif not isinstance(one.ref, (Organism, os.PathLike)):
            raise InvalidValue(
                f"{one.ref!r} is no reference to a parent. Give a name, digest, place or Organism."
            )
    return found


def as_power(power: Any) -> tuple[PowerCost, ...]:
    costs = tuple(_several(power))
    for one in costs:
        if not isinstance(one, PowerCost):
            raise InvalidValue(
                f"{one!r} is not a power cost. Give lineage.PowerCost(joules=...), or several."
            )
    return costs


def as_scores(fitness: Any) -> tuple[Score, ...]:
    if isinstance(fitness, Mapping):
        scores = []
        for niche, value in fitness.items():
            if isinstance(value, Score) and str(value.niche) != str(niche):
                raise InvalidValue(f"the score of {value.niche} was given under {niche}.")
            scores.append(value if isinstance(value, Score) else Score(niche, value))
        return tuple(scores)
    scores = list(_several(fitness))
    for one in scores:
        if not isinstance(one, Score):
            raise InvalidValue(
                f"{one!r} is not a score. Give fitness={{'task/metric': 0.61}}, or a list of "
                "lineage.Score."
            )
    return tuple(scores)
