"""The family as a Mermaid flowchart, which GitHub, GitLab and notebooks draw in Markdown."""

from __future__ import annotations

import re

from lineage.shown import shown
from lineage.trees.family import Family

# Entity codes of Mermaid: what is neither a letter, a digit nor harmless becomes `#35;`.
_UNSAFE = re.compile(r"[^\w .@/:+=,-]")


def render(family: Family) -> str:
    """One node an organism, one arrow a link from parent to child, with its relation; classes for
    ghosts and for what is selected against or culled. O(n).

    Source: https://mermaid.js.org/syntax/flowchart.html"""
    lines = ["flowchart LR"]
    for own, member in family.members.items():
        one = member.organism
        kind = "ghost" if one.ghost else one.status
        lines.append(f'  o{own}["{text(str(one))}"]:::{kind}')
    for own, count in family.folded.items():
        lines.append(f'  m{own}(["{count} more"]):::more')
        lines.append(f"  o{own} --> m{own}")
    for link in family.branches:
        share = "" if link.weight is None else f" {link.weight:.3g}"
        lines.append(f'  o{link.parent} -->|"{link.relation}{share}"| o{link.child}')
    lines += [
        "  classDef alive fill:#e8f3ec,stroke:#2e7d4f,color:#111",
        "  classDef selected_against fill:#f6ecd9,stroke:#a86b00,color:#111",
        "  classDef culled fill:#eee,stroke:#888,color:#555",
        "  classDef ghost fill:#fff,stroke:#888,color:#555,stroke-dasharray:4 3",
        "  classDef more fill:#fff,stroke:#ccc,color:#555",
        "",
    ]
    return "\n".join(lines)


def text(name: str) -> str:
    """A label in double quotes: HTML, quotes and line ends as codes of their characters."""
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", shown(name))
