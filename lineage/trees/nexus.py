"""The family in Nexus: the Newick trees in a file with a list of taxa, as programs of phylogenetics
exchange them. What Newick leaves out stands in comments here too."""

from __future__ import annotations

from lineage.trees import newick
from lineage.trees.family import Family
from lineage.trees.layout import arrange


def render(family: Family) -> str:
    """A TAXA and a TREES block; a tree for each founder, rooted. Two organisms of one label are
    one taxon, which is listed once. O(n).

    Source: Maddison, Swofford and Maddison 1997, doi:10.1093/sysbio/46.4.590"""
    labels = dict.fromkeys(newick.name_of(family, row) for row in arrange(family).rows)
    trees = [
        f"  TREE founder_{at} = [&R] {tree}"
        for at, tree in enumerate(newick.render(family).splitlines(), 1)
    ]
    return "\n".join(
        [
            "#NEXUS",
            "[Further parents, which a tree cannot say, stand in comments: also of ...]",
            "BEGIN TAXA;",
            f"  DIMENSIONS NTAX={len(labels)};",
            "  TAXLABELS",
            *(f"    {label}" for label in labels),
            "  ;",
            "END;",
            "BEGIN TREES;",
            *trees,
            "END;",
            "",
        ]
    )
