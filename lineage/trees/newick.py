"""The family in Newick, the format that programs of biology read: the backbone as the tree, one
generation a unit. Further parents, which Newick cannot say, stand in a comment."""

from __future__ import annotations

import re

from lineage.trees import words
from lineage.trees.family import Branch, Family
from lineage.trees.layout import Row, arrange


def render(family: Family) -> str:
    """One line for each founder, ending in `;`; inner organisms are labelled too. O(n).

    Labels stand in single quotes, doubled inside; line ends and control characters become blanks.
    A branch is as long as the generations it spans. `[also of B 30 %]` names further parents; a
    bundle of organisms that are not drawn is a leaf called `240 more`.
    Source of the grammar: Olsen 1990, https://phylipweb.github.io/phylip/newick_doc.html"""
    layout = arrange(family)
    generation = {row.id: row.generation for row in layout.rows if not row.more}
    comments = _comments(family, layout.further)

    def label(row: Row) -> str:
        span = row.generation - generation[row.parent] if row.parent is not None else 0
        length = f":{span}" if row.parent is not None else ""
        return name_of(family, row) + ("" if row.more else comments.get(row.id, "")) + length

    out: list[str] = []
    around: list[Row] = []  # the open parentheses, outermost first
    for row, depth in zip(layout.rows, [r.depth for r in layout.rows[1:]] + [0], strict=False):
        if depth > row.depth:
            out.append("(")
            around.append(row)
            continue
        out.append(label(row))
        while around and around[-1].depth >= depth:
            out.append(")" + label(around.pop()))
        out.append("," if depth else ";\n")
    return "".join(out)


def name_of(family: Family, row: Row) -> str:
    """The label of a row, quoted."""
    return _quoted(f"{row.more} more" if row.more else str(family.members[row.id].organism))


def _comments(family: Family, further: tuple[Branch, ...]) -> dict[int, str]:
    children = {link.child for link in further}
    links: dict[int, list[Branch]] = {child: [] for child in children}
    for link in family.branches:
        if link.child in children:
            links[link.child].append(link)
    others = {(link.child, link.parent) for link in further}
    comments = {}
    for child, all_links in links.items():
        named = [
            f"{family.members[link.parent].organism} {share}".rstrip()
            for link, share in zip(all_links, words.shares(all_links), strict=True)
            if (link.child, link.parent) in others
        ]
        # Brackets would end or nest the comment, and some readers take `&` first for their own.
        text = re.sub(r"[\[{]", "(", re.sub(r"[\]}]", ")", ", ".join(named)))
        comments[child] = f"[also of {_one_line(text)}]"
    return comments


def _quoted(name: str) -> str:
    return "'" + _one_line(name).replace("'", "''") + "'"


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text)
