"""The family as a Mermaid flowchart, which GitHub, GitLab and notebooks draw in Markdown."""

from __future__ import annotations

import re

from lineage.organism import Organism
from lineage.shown import shown
from lineage.trees.family import Family
from lineage.trees.folding import called, fold, links
from lineage.trees.layout import arrange

# Entity codes of Mermaid: what is neither a letter, a digit nor harmless becomes `#35;`.
_UNSAFE = re.compile(r"[^\w .@/:+=,-]")


def render(family: Family, *, all: bool = False) -> str:
    """One node an organism, or one for several that fold unless `all`; one arrow a link from parent
    to child, with its relation; classes for ghosts and for what is selected against or culled.
    O(n).

    Source: https://mermaid.js.org/syntax/flowchart.html"""
    layout = arrange(family)
    folded = fold(family, layout, everything=all)
    lines = ["flowchart LR"]
    for line in folded:
        label = text(called(family, layout, line))
        if line.more:
            own = line.ids[0]
            lines += [f'  m{own}(["{label}"]):::more', f"  o{own} --> m{own}"]
            continue
        kinds = {_kind(family.members[own].organism) for own in line.ids}
        kind = kinds.pop() if len(kinds) == 1 else "alive"
        lines.append(f'  o{line.ids[0]}["{label}"]:::{kind}')
    for parent, child, link in links(family, folded):
        share = "" if link.weight is None or folded[child].folds else f" {link.weight:.3g}"
        ends = f"o{folded[parent].ids[0]}", f"o{folded[child].ids[0]}"
        lines.append(f'  {ends[0]} -->|"{link.relation}{share}"| {ends[1]}')
    lines += [
        "  classDef alive fill:#e8f3ec,stroke:#2e7d4f,color:#111",
        "  classDef selected_against fill:#f6ecd9,stroke:#a86b00,color:#111",
        "  classDef culled fill:#eee,stroke:#888,color:#555",
        "  classDef ghost fill:#fff,stroke:#888,color:#555,stroke-dasharray:4 3",
        "  classDef more fill:#fff,stroke:#ccc,color:#555",
        "",
    ]
    return "\n".join(lines)


def _kind(one: Organism) -> str:
    return "ghost" if one.ghost else one.status


def text(name: str) -> str:
    """A label in double quotes: HTML, quotes and line ends as codes of their characters."""
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", shown(name))
