"""A family as the registry hands it out: in a notebook it shows its picture."""

from __future__ import annotations

from dataclasses import dataclass

from lineage.answers import html
from lineage.trees import svg
from lineage.trees.family import Family
from lineage.trees.folding import fold
from lineage.trees.layout import arrange

DRAWN = 300
"""Lines that a notebook draws; a family with more is shown as a table, its rest counted."""


@dataclass(frozen=True, slots=True)
class FamilyTree(Family):
    """A Family that shows its tree; a large one shows the table that other answers show."""

    def _repr_html_(self) -> str:
        if len(fold(self, arrange(self))) > DRAWN:
            return html(self)
        title = "the forest" if self.root is None else str(self.members[self.root].organism)
        return f'<div class="lineage-answer">{svg.render(self, title=title)}</div>'
