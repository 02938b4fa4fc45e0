"""Answers for the libraries that people go on with: pandas for tables, networkx for graphs. Neither
is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lineage.answers import rows
from lineage.errors import InvalidValue, LineageError
from lineage.organism import Link
from lineage.trees.family import Family

if TYPE_CHECKING:
    import networkx as nx


def to_pandas(answer: Any) -> Any:
    """What a question gave, as a pandas DataFrame with a row for each entry: organisms, summaries,
    links, scores, events, or the table of a Ranking, Clade, Family, Difference, Bisection, Impact,
    Explanation or Plan. Unknown is None or NaN. Units are those of the dataclass: joules, bytes.

    Raises LineageError where pandas is not installed, InvalidValue for what is no answer."""
    found = rows(answer)
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise LineageError(
            "to_pandas needs pandas, which is not here: pip install pandas."
        ) from None
    columns = list(dict.fromkeys(key for row in found for key in row))
    return pandas.DataFrame(found, columns=columns)


def to_networkx(answer: Any) -> nx.DiGraph[str]:
    """A Family, or links, as a networkx graph from parents to children, linear in its size.

    A node is the reference of an organism (`name@v2`), and holds its fields and its latest scores
    by niche; an edge holds its `relation`, and its `weight` where that is known. What is unknown is
    left out. Raises InvalidValue for an answer without links, like a list of organisms."""
    import networkx as nx

    if isinstance(answer, Family):
        organisms = [member.organism for member in answer.members.values()]
        ref = {own: member.organism.ref for own, member in answer.members.items()}
        edges = [(ref[one.parent], ref[one.child], one) for one in answer.branches]
        nodes = rows(answer)
    elif isinstance(answer, (list, tuple)) and all(isinstance(one, Link) for one in answer):
        both = [one for link in answer for one in (link.parent, link.child)]
        organisms = list({one.id: one for one in both}.values())
        edges = [(one.parent.ref, one.child.ref, one) for one in answer]
        nodes = rows(organisms)
    else:
        raise InvalidValue(
            "a graph is made of a family or of links: registry.family(ref), path(a, b), "
            f"parents(ref). {type(answer).__name__} has none."
        )
    graph: nx.DiGraph[str] = nx.DiGraph()
    for organism, row in zip(organisms, nodes, strict=True):
        graph.add_node(organism.ref, **{k: v for k, v in row.items() if v is not None and v != []})
    for parent, child, link in edges:
        weight = {} if link.weight is None else {"weight": link.weight}
        graph.add_edge(parent, child, relation=link.relation, **weight)
    return graph
