"""What a tree is drawn from: organisms with what is known of them, and the links between them.
The registry fills a Family, every picture reads it, and none of them asks the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from lineage.answers import Answer
from lineage.organism import Niche, Organism, PowerCost, Score


@dataclass(frozen=True, slots=True)
class Rival:
    """Who beats an organism in a niche: at least as fit, at no more power. `value` is its score,
    `joules` what serving it costs `per` a unit."""

    niche: str
    name: str
    value: float
    joules: float
    per: str


@dataclass(frozen=True, slots=True)
class Happening:
    """What happened to an organism, and who did it (`user@host`), by which command."""

    kind: str
    at: datetime
    who: str
    command: str


@dataclass(frozen=True, slots=True)
class Member(Answer):
    """An organism in a picture. `scores` holds the latest in each niche; `serving` is what serving
    it costs, its base included, and may be estimated; `training` is its own training;
    `reason` is why it is selected against, in one sentence; `front` names the niches, as text, on
    whose front of fitness against power it lies. Where details were asked for, `rivals` says who
    beats it in others, and `tags` and `history`, oldest first, are there."""

    organism: Organism
    scores: tuple[Score, ...] = ()
    serving: PowerCost | None = None
    training: PowerCost | None = None
    load_bearing: bool = False
    aliases: tuple[str, ...] = ()
    reason: str | None = None
    front: tuple[str, ...] = ()
    rivals: tuple[Rival, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    history: tuple[Happening, ...] = ()

    def score_in(self, niche: Niche | None) -> Score | None:
        """The latest score in `niche`, None where there is none."""
        return next((score for score in self.scores if score.niche == niche), None)


@dataclass(frozen=True, slots=True)
class Branch:
    """A parent link, by organism ids. `weight` is the parent's share, of any scale or sign;
    `shared` the part of the child's tensors, by bytes, that were found to be the parent's."""

    child: int
    parent: int
    relation: str
    weight: float | None
    shared: float | None = None


ORDERS = ("size", "time", "fitness")
"""How siblings follow each other: small clades first, or old organisms, or fit ones."""


@dataclass(frozen=True, slots=True)
class Family(Answer):
    """Organisms and the links between them; an acyclic graph.

    `members` by organism id, in the order of registration; `branches` only between members, the
    parents of a child in the order they were given; `root` is the organism asked for, None for
    the forest; `niche` is the one shown, None for the one scored most; `order` says how siblings
    follow each other, of ORDERS; `folded` counts by organism id the organisms below it that are not
    drawn, and `within` what they are (`selected against`, ...), where that is known; `hidden`
    counts all that are not drawn; both counts are at least so many where not `counted`, in a family
    too large to be walked; `proposed` holds those that are beaten wherever they are scored, with
    what keeps them all the same, empty for nothing."""

    _rows: ClassVar[str] = "members"

    members: Mapping[int, Member]
    branches: tuple[Branch, ...]
    root: int | None = None
    niche: Niche | None = None
    folded: Mapping[int, int] = field(default_factory=dict)
    hidden: int = 0
    counted: bool = True
    order: str = "size"
    within: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    proposed: Mapping[int, str] = field(default_factory=dict)

    def niches(self) -> list[Niche]:
        """The niches scored here, most scored first, then by name."""
        counts: dict[Niche, int] = {}
        for member in self.members.values():
            for score in member.scores:
                assert isinstance(score.niche, Niche)  # Score sees to it
                counts[score.niche] = counts.get(score.niche, 0) + 1
        return sorted(counts, key=lambda niche: (-counts[niche], str(niche)))

    def shown_niche(self) -> Niche | None:
        """The niche that pictures show: the one asked for, else the one scored most."""
        return self.niche or next(iter(self.niches()), None)
