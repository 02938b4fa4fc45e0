"""The family as a Graphviz graph: `lineage tree base --format dot | dot -Tsvg`."""

from __future__ import annotations

import re

from lineage.shown import shown
from lineage.trees.family import Family

_LOOKS = {
    "alive": "",
    "selected_against": ', color="#a86b00"',
    "culled": ', color="#888888", fontcolor="#888888"',
    "ghost": ', style="dashed", color="#888888"',
}


def render(family: Family) -> str:
    """One node an organism, one edge a link from parent to child, labelled with its relation;
    bundles of what is not drawn as plain text. O(n).

    Source: https://graphviz.org/doc/info/lang.html"""
    lines = ["digraph lineage {", "  rankdir=LR; node [shape=box, fontname=sans];"]
    for own, member in family.members.items():
        one = member.organism
        kind = "ghost" if one.ghost else one.status
        lines.append(f"  o{own} [label={quoted(str(one))}{_LOOKS[kind]}];")
    for own, count in family.folded.items():
        lines.append(f'  m{own} [label="{count} more", shape=plaintext]; o{own} -> m{own};')
    for link in family.branches:
        share = "" if link.weight is None else f" {link.weight:.3g}"
        lines.append(f'  o{link.parent} -> o{link.child} [label="{link.relation}{share}"];')
    return "\n".join([*lines, "}", ""])


def quoted(name: str) -> str:
    """A string of DOT. Its backslashes are doubled, as `\\N` and the like would be replaced."""
    text = shown(name).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"&", "&amp;", text) + '"'
