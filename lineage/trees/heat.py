"""How good a score is beside the others of a niche, from 0 to 1, as colours show it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lineage.organism import Niche
from lineage.trees import words
from lineage.trees.family import Family

MANY, COMMON = 40, 0.95
"""Above so many living, the worst that are not among this share have one colour: a few that
diverged must not take the colours of all others. As on the page (viz/page/forest.js)."""


@dataclass(frozen=True, slots=True)
class Heat:
    """A niche in a picture. `direction` is None where it is not known or not one; `best` and
    `worst` are of the living, None where none is scored."""

    niche: Niche
    direction: str | None
    best: float | None
    worst: float | None
    figures: words.Figures

    def good(self, value: float) -> float | None:
        """0 for the worst to 1 for the best; None where that cannot be said."""
        if self.direction is None or self.best is None or self.worst is None:
            return None
        if self.best == self.worst:
            return 1.0
        return min(1.0, max(0.0, (value - self.worst) / (self.best - self.worst)))


def heat(family: Family, niche: Niche) -> Heat:
    """The scale of `niche` in this family."""
    known = [
        (member.organism, score)
        for member in family.members.values()
        if (score := member.score_in(niche)) is not None
    ]
    ways = {score.direction for _, score in known}
    direction = ways.pop() if len(ways) == 1 else None
    living = sorted(
        (score.value for one, score in known if words.status(one) == "alive"),
        reverse=direction == "higher",
    )
    last = math.ceil(len(living) * (COMMON if len(living) > MANY else 1)) - 1
    return Heat(
        niche,
        direction,
        best=living[0] if living else None,
        worst=living[max(0, last)] if living else None,
        figures=words.figures([score.value for _, score in known]),
    )
