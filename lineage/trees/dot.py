"""The family as a Graphviz graph: `lineage tree base --format dot | dot -Tsvg`."""

from __future__ import annotations

import re

from lineage.shown import shown
from lineage.trees.family import Family
from lineage.trees.folding import Line, called, fold, links
from lineage.trees.layout import arrange

_LOOKS = {
    "alive": "",
    "selected_against": ', color="#a86b00"',
    "culled": ', color="#888888", fontcolor="#888888"',
    "ghost": ', style="dashed", color="#888888"',
}


def render(family: Family, *, all: bool = False) -> str:
    """One node an organism, or one for several that fold unless `all`; one edge a link from parent
    to child, labelled with its relation; bundles of what is not drawn as plain text. O(n).

    Source: https://graphviz.org/doc/info/lang.html"""
    layout = arrange(family)
    folded = fold(family, layout, everything=all)
    lines = ["digraph lineage {", "  rankdir=LR; node [shape=box, fontname=sans];"]
    for line in folded:
        label, own = quoted(called(family, layout, line)), line.ids[0]
        if line.more:
            lines.append(f"  m{own} [label={label}, shape=plaintext]; o{own} -> m{own};")
            continue
        lines.append(f"  o{own} [label={label}{_look(family, line)}];")
    for parent, child, link in links(family, folded):
        share = "" if link.weight is None or folded[child].folds else f" {link.weight:.3g}"
        ends = f"o{folded[parent].ids[0]} -> o{folded[child].ids[0]}"
        lines.append(f'  {ends} [label="{link.relation}{share}"];')
    return "\n".join([*lines, "}", ""])


def _look(family: Family, line: Line) -> str:
    """Of what all of a line are; several lie behind each other."""
    members = [family.members[own].organism for own in line.ids]
    kinds = {"ghost" if one.ghost else one.status for one in members}
    look = _LOOKS[kinds.pop()] if len(kinds) == 1 else ""
    return look + (", peripheries=2" if line.folds else "")


def quoted(name: str) -> str:
    """A string of DOT. Its backslashes are doubled, as `\\N` and the like would be replaced."""
    text = shown(name).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"&", "&amp;", text) + '"'
