"""The family in PhyloXML: clades with names, properties and, for further parents, relations. What
programs of phylogenetics read, and more of what we know than Newick holds."""

from __future__ import annotations

from lineage.trees.family import Branch, Family, Member
from lineage.trees.layout import Row, arrange
from lineage.trees.markup import xml

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<phyloxml xmlns="http://www.phyloxml.org" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation='
    '"http://www.phyloxml.org http://www.phyloxml.org/1.20/phyloxml.xsd">\n'
)


def render(family: Family) -> str:
    """A phylogeny for each founder; the backbone as clades, a branch as long as the generations it
    spans; the digest, status and scores as properties; a further parent as a `clade_relation` of
    type `other_parent:RELATION`. O(n), without recursion.

    Source: Han and Zmasek 2009, doi:10.1186/1471-2105-10-356; phyloxml.xsd 1.20"""
    layout = arrange(family)
    generation = {row.id: row.generation for row in layout.rows if not row.more}
    out = [HEAD]
    open_rows: list[Row] = []
    relations: list[Branch] = []
    further: dict[int, list[Branch]] = {}
    for link in layout.further:
        further.setdefault(link.child, []).append(link)

    def close(depth: int) -> None:
        while open_rows and open_rows[-1].depth >= depth:
            out.append(f"{'  ' * min(open_rows.pop().depth, 20)}</clade>\n")

    def end() -> None:
        close(0)
        out.extend(_relation(link) for link in relations)
        relations.clear()
        out.append("</phylogeny>\n")

    roots: dict[int, int] = {}
    root = None
    for row in layout.rows:
        if row.parent is None:
            if root is not None:
                end()
            root = row.id
            out.append('<phylogeny rooted="true" rerootable="false">\n')
        roots[row.id] = root if root is not None else row.id
        close(row.depth)
        main = None if row.more else layout.main.get(row.id)
        span = row.generation - generation[row.parent] if row.parent is not None else 0
        out.append(_clade(family.members[row.id], row, main, span))
        open_rows.append(row)
        # a relation names two clades of one phylogeny: others stand in a property
        relations += [] if row.more else further.get(row.id, [])
        relations[:] = [link for link in relations if roots.get(link.parent, root) == root]
    if root is not None:
        end()
    out.append("</phyloxml>\n")
    return "".join(out)


def _clade(member: Member, row: Row, main: Branch | None, span: int) -> str:
    pad = "  " * min(row.depth, 20)
    if row.more:
        return f'{pad}<clade branch_length="{span}">\n{pad}  <name>{row.more} more</name>\n'
    one = member.organism
    length = f' branch_length="{span}"' if row.parent is not None else ""
    lines = [
        f'{pad}<clade id_source="o{one.id}"{length}>\n',
        f"{pad}  <name>{xml(str(one))}</name>\n",
    ]
    known = {"status": "ghost" if one.ghost else one.status, "digest": one.digest,
             "relation": main.relation if main else None, "licence": one.licence}  # fmt: skip
    for key, value in known.items():
        if value is not None:
            lines.append(_property(pad, f"lineage:{key}", "xsd:string", value))
    for score in member.scores:
        kind = "xsd:double"
        lines.append(_property(pad, "lineage:fitness", kind, repr(score.value), str(score.niche)))
    return "".join(lines)


def _property(pad: str, ref: str, kind: str, value: str, unit: str | None = None) -> str:
    # a unit is a token prefix:name, so that a niche, which is any text, stands in the value
    shown = value if unit is None else f"{unit} = {value}"
    kind = kind if unit is None else "xsd:string"
    return (
        f'{pad}  <property ref="{ref}" datatype="{kind}" applies_to="clade">{xml(shown)}'
        "</property>\n"
    )


def _relation(link: Branch) -> str:
    weight = "" if link.weight is None else f' distance="{link.weight!r}"'
    return (
        f'<clade_relation id_ref_0="o{link.child}" id_ref_1="o{link.parent}"{weight} '
        f'type="other_parent:{link.relation}"/>\n'
    )
