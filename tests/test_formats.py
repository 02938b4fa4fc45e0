"""Formats of other programs, each read by a reader or validator that is not ours: what a family is
survives, and names that strangers chose break nothing. `openlineage-2-0-2.json` is the published
schema of OpenLineage (Apache-2.0, https://github.com/OpenLineage/OpenLineage)."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from click.testing import CliRunner, Result
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

import lineage
from lineage import formats
from lineage.cli import main
from lineage.trees import dot, markup, mermaid, newick, nexus, phyloxml
from tests.test_trees import grow

HOSTILE = (
    "quote's \"double\" `tick`",
    "line\nbreak\tand\rreturn",
    "<script>alert(1)</script> & ]]> <!-- -->",
    "=1+1",
    "'=already quoted",
    "семья 家族 🌳",
    "esc\x1b[31m \u202eevil",
    "[brackets] {braces} (paren); \\N backslash, comma",
    "end",
)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[lineage.Registry]:
    """base → ft → (adapter, a merge with other), a ghost, and a child with each hostile name."""
    with lineage.open(tmp_path / "r.db") as found:
        found.register(name="base", digest="aa" * 32, licence="mit", parameters=7_000_000_000)
        found.register(
            name="ft", digest="bb" * 32, parents="base", fitness={"gsm8k/acc": 0.61},
            power=lineage.PowerCost(joules=3.1e6, source="measured"), tags={"team": "a & b"},
            created="2026-01-02T03:04:05Z",
        )  # fmt: skip
        found.register(name="other", digest="cc" * 32, parents="somebody/ghost")
        found.register(name="lora", digest="dd" * 32, parents="ft", relation="adapter")
        found.register(name="merge", parents={"ft": 0.7, "other": 0.3}, place="hf:me/merge@abc")
        for at, name in enumerate(HOSTILE):
            found.register(name=name, digest=f"{at:064x}", parents="base")
        yield found


@pytest.fixture
def written(registry: lineage.Registry) -> Any:
    def export(kind: str) -> str:
        with registry.database.read() as connection:
            return "".join(formats.export(connection, kind))

    return export


def links(registry: lineage.Registry) -> set[tuple[str, str, str]]:
    found = registry.find(ghosts=True)
    return {
        (link.parent.ref, link.child.ref, link.relation)
        for one in registry.summaries(found)
        for link in one.parents
    }


def run(*args: str, **options: Any) -> Result:
    return CliRunner().invoke(main, args, **options)


# ---- trees


def backbone(registry: lineage.Registry) -> dict[str, str | None]:
    """Child → its main parent, as the tree draws it."""
    from lineage.trees.layout import arrange

    family = registry.family(limit=None)
    layout = arrange(family)
    return {
        str(family.members[row.id].organism):
        None if row.parent is None else str(family.members[row.parent].organism)
        for row in layout.rows
    }  # fmt: skip


def one_line(name: str) -> str:
    return "".join(" " if not c.isprintable() and ord(c) < 0x2030 else c for c in name)


@pytest.mark.parametrize("schema", ["newick", "nexus"])
def test_dendropy_reads_the_trees(registry: lineage.Registry, schema: str) -> None:
    import dendropy

    module = {"newick": newick, "nexus": nexus}[schema]
    text = module.render(registry.family(limit=None))
    trees = dendropy.TreeList.get(
        data=text, schema=schema, preserve_underscores=True, suppress_internal_node_taxa=False
    )
    read = {
        node.taxon.label: node.parent_node.taxon.label if node.parent_node else None
        for tree in trees
        for node in tree.preorder_node_iter()
    }
    clean = lambda name: None if name is None else " ".join(one_line(name).split())  # noqa: E731
    wanted = {clean(child): clean(parent) for child, parent in backbone(registry).items()}
    assert {clean(a): clean(b) for a, b in read.items()} == wanted
    assert "also of other 30 %" in text  # a second parent, which a tree cannot say


def test_biopython_reads_phyloxml(registry: lineage.Registry) -> None:
    from Bio import Phylo

    registry.register(name="both", digest="ee" * 32, parents=["base", "ft"], relation="merge")
    text = phyloxml.render(registry.family(limit=None))
    read: dict[str, str | None] = {}
    relations = []
    for tree in Phylo.parse(io.StringIO(text), "phyloxml"):
        assert tree.rooted
        relations += tree.clade_relations
        for clade in tree.find_clades():
            for child in clade.clades:
                read[child.name] = clade.name
        read[tree.root.name] = None
    # Biopython joins blanks; what XML cannot hold is written out
    clean = lambda name: None if name is None else " ".join(  # noqa: E731
        name.replace("\x1b", "\\x1b").split())  # fmt: skip
    wanted = {clean(child): clean(parent) for child, parent in backbone(registry).items()}
    assert {clean(a): clean(b) for a, b in read.items()} == wanted
    element = ElementTree.fromstring(text)
    named = {one.get("id_source"): one[0].text
             for one in element.iter("{http://www.phyloxml.org}clade")}  # fmt: skip
    told = {named[one.id_ref_0]: (named[one.id_ref_1], one.type) for one in relations}
    assert told["both"][0] in ("base", "ft")  # IDs of clades, and the type a token
    assert told["both"][1] == "other_parent:merge"
    properties = element.iter("{http://www.phyloxml.org}property")
    assert "gsm8k/acc = 0.61" in {one.text for one in properties}


def test_a_chain_of_a_hundred_thousand_is_written_without_recursion() -> None:
    from lineage.organism import Organism
    from lineage.trees.family import Branch, Family, Member

    none = (None,) * 8
    members = {
        at: Member(Organism(at, f"o{at}", 1, None, "alive", False, "genomic", at, False, False,
                            *none, None)) for at in range(100_000)}  # fmt: skip
    family = Family(members, tuple(Branch(at, at - 1, "continue", None)
                                   for at in range(1, 100_000)))  # fmt: skip
    for module in (newick, nexus, phyloxml, mermaid, dot):
        assert "o99999" in module.render(family)


def test_mermaid_labels_hold_no_markup(registry: lineage.Registry) -> None:
    text = mermaid.render(registry.family(limit=None), all=True)
    lines = text.splitlines()
    assert lines[0] == "flowchart LR"
    nodes = [line for line in lines if line.lstrip().startswith("o") and '["' in line]
    assert len(nodes) == len(registry.find(ghosts=True))
    for line in nodes:
        label = line[line.index('["') + 2 : line.index('"]')]
        assert not set(label) & set("\"'<>&`[]{}()\\\n")
    assert "#60;script#62;" in text
    assert sum("-->" in line for line in lines) == len(links(registry))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pydot_reads_dot(registry: lineage.Registry) -> None:
    import pydot

    (graph,) = pydot.graph_from_dot_data(dot.render(registry.family(limit=None), all=True))
    nodes = [node for node in graph.get_nodes() if node.get_name() != "node"]
    assert len(nodes) == len(registry.find(ghosts=True))
    label = {node.get_name(): node.get("label") for node in nodes}
    read = {(label[edge.get_source()], label[edge.get_destination()])
            for edge in graph.get_edges()}  # fmt: skip
    assert read == {(dot.quoted(str(registry.get(a))), dot.quoted(str(registry.get(b))))
                    for a, b, _ in links(registry)}  # fmt: skip


def test_graphs_fold_and_say_so() -> None:
    links: dict[str, Any] = {"s0": []}
    links |= {f"s{i}": [(f"s{i - 1}", "continue", None)] for i in range(1, 6)}
    family = grow(links, s2={"status": "selected_against"})
    folded = replace(family, folded={6: 9}, hidden=9, within={6: {"culled": 2}})
    told = "s1 … s4: 4 steps, 1 selected against"
    assert f'o2["{mermaid.text(told)}"]:::alive' in mermaid.render(folded)
    assert '  o1 -->|"continue"| o2\n  o2 -->|"continue"| o6' in mermaid.render(folded)
    assert f'o2 [label="{told}", peripheries=2]' in dot.render(folded)
    assert 'm6 [label="9 more (2 culled)", shape=plaintext]; o6 -> m6' in dot.render(folded)
    for module in (mermaid, dot):
        assert module.render(folded, all=True).count("continue") == 5


def test_dot_strings_end_where_they_should(registry: lineage.Registry) -> None:
    for name in HOSTILE:
        inner = dot.quoted(name)[1:-1]
        assert '"' not in inner.replace("\\\\", "").replace('\\"', "")
        assert "\n" not in inner


@given(st.text(st.characters()))
def test_any_text_survives_in_xml(text: str) -> None:
    for document in (f"<a>{markup.xml(text)}</a>", f'<a b="{markup.xml(text)}"/>'):
        element = ElementTree.fromstring(document.encode())
        read = element.get("b") if "b=" in document[:6] else element.text or ""
        if text.isprintable():
            assert read == text


# ---- graphs


def test_networkx_reads_graphml_and_gexf(registry: lineage.Registry, written: Any) -> None:
    for kind, read in (("graphml", nx.read_graphml), ("gexf", nx.read_gexf)):
        graph = read(io.BytesIO(written(kind).encode()))
        assert graph.is_directed()
        ref = {node: f"{data['name']}@v{data['version']}" for node, data in graph.nodes(data=True)
               if "name" in data}  # fmt: skip
        known = {(ref[a], ref[b], data["relation"]) for a, b, data in graph.edges(data=True)}
        written_out = lambda name: name.replace("\x1b", "\\x1b")  # noqa: E731
        assert known == {(written_out(a), written_out(b), r) for a, b, r in links(registry)}
        (ft,) = [data for _, data in graph.nodes(data=True) if data.get("name") == "ft"]
        assert ft["digest"] == "bb" * 32
        assert ft["training_joules"] == 3.1e6
        assert json.loads(ft["fitness"])[0]["value"] == 0.61


@pytest.mark.parametrize("kind", ["graphml", "alife"])
def test_what_was_exported_is_imported_alike(
    registry: lineage.Registry, written: Any, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / f"family.{'graphml' if kind == 'graphml' else 'csv'}"
    file.write_text(written(kind), encoding="utf-8", newline="")
    done = run("import", str(file), "--format", kind, "--db", str(tmp_path / "copy.db"))
    assert done.exit_code == 0, done.output
    with lineage.open(tmp_path / "copy.db") as copy:
        fix = lambda ref: ref.replace("\x1b", "\\x1b") if kind == "graphml" else ref  # noqa: E731
        assert links(copy) == {(fix(a), fix(b), r) for a, b, r in links(registry)}
        assert {fix(one.ref) for one in registry.find(ghosts=True)} == {
            one.ref for one in copy.find(ghosts=True)}  # fmt: skip
        assert copy.get("ft").digest == "bb" * 32
        (score,) = copy.record("ft").scores
        assert (str(score.niche), score.value) == ("gsm8k/acc", 0.61)
    again = run("import", str(file), "--format", kind, "--db", str(tmp_path / "copy.db"))
    assert "0 new, 0 gained something" in again.output


def test_a_graph_of_somebody_else(tmp_path: Path) -> None:
    graph = nx.DiGraph([("a", "b"), ("b", "c"), ("a", "c")])
    nx.write_graphml(graph, tmp_path / "zoo.graphml")
    assert run("import", "zoo.graphml", "--db", "z.db").exit_code == 0
    with lineage.open("z.db") as registry:
        assert {one.name for one in registry.ancestors("zoo/c")} == {"zoo/a", "zoo/b"}
    nx.write_graphml(nx.Graph([("a", "b")]), tmp_path / "un.graphml")
    refused = run("import", "un.graphml", "--db", "z.db")
    assert refused.exit_code == 2
    assert "without a direction" in refused.stderr


def test_graphml_with_entities_or_broken_is_refused(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "aaaa">]><graphml>&a;</graphml>'
    (tmp_path / "bomb.graphml").write_text(bomb)
    (tmp_path / "cut.graphml").write_text("<graphml><graph>")
    (tmp_path / "late.graphml").write_text(bomb.replace("<!D", f"<!--{' ' * 70_000}--><!D"))
    (tmp_path / "wide.graphml").write_text(bomb.replace(' version="1.0"', ' version="1.0" '
                                           'encoding="UTF-16"'), "utf-16")  # fmt: skip
    for name in ("bomb", "late", "wide"):
        assert "document type" in run("import", f"{name}.graphml", "--db", "z.db").stderr
    assert "no GraphML" in run("import", "cut.graphml", "--db", "z.db").stderr
    (tmp_path / "plot.graphml").write_text("<svg/>")
    assert "it begins with <svg>" in run("import", "plot.graphml", "--db", "z.db").stderr


def test_what_a_graph_cannot_mean_is_set_aside_and_the_rest_comes_in(tmp_path: Path) -> None:
    graph = nx.DiGraph()
    graph.add_node("wrong", parameters="many")
    graph.add_node("huge", parameters=str(9 * 10**40))
    graph.add_node("version", name="n", version="²" * 5000)
    graph.add_node("deep", fitness="[" * 100_000, tags="[1]")
    graph.add_node("fine", parameters=7e9, bytes=float("nan"), training_joules=12.0)
    graph.add_node("heavy")
    graph.add_edge("fine", "heavy", weight="a third")
    graph.add_edge("fine", "deep", weight=0.5)
    nx.write_graphml(graph, tmp_path / "zoo.graphml")
    done = run("import", "zoo.graphml", "--db", "z.db")
    assert done.exit_code == 1
    assert "3 nodes or links were set aside" in done.stderr
    for node, value in ((1, '"many"'), (2, "9" + "0" * 40), (6, '"a third"')):
        assert re.search(rf"^  node {node}: .*{value}", done.stderr, re.MULTILINE)
    with lineage.open("z.db") as registry:
        fine = registry.record("zoo/fine")
        assert (fine.organism.parameters, fine.organism.bytes) == (7_000_000_000, None)
        assert [cost.joules for cost in fine.power] == [12.0]
        assert {one.name for one in registry.descendants("zoo/fine")} == {"zoo/deep"}
        assert registry.record("zoo/deep").tags["tags"] == "[1]"
        assert registry.get("n").version == 1


# ---- the ALife standard


def test_alife_keeps_to_the_standard_and_to_text(registry: lineage.Registry, written: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(written("alife"), newline="")))
    ids = {row["id"] for row in rows}
    seen: set[str] = set()
    for row in rows:
        inner = row["ancestor_list"].removeprefix("[").removesuffix("]")
        above = set() if inner == "none" else set(inner.split(","))
        assert above <= ids
        assert above <= seen  # parents come first
        seen.add(row["id"])
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@"))


def test_a_phylogeny_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "run7.csv").write_text(
        'id,ancestor_list,origin_time,taxon_label\n0,[none],0,root\n1,"[0]",3,x\n2,"[0, 1]",9,x\n'
    )
    done = run("import", "run7.csv", "--format", "alife", "--db", "z.db")
    assert done.exit_code == 0, done.output
    with lineage.open("z.db") as registry:
        assert {one.name for one in registry.ancestors("run7/2")} == {"run7/0", "run7/1"}
        assert registry.record("run7/2").tags == {"origin_time": "9", "taxon_label": "x"}
    (tmp_path / "bad.csv").write_bytes(
        b"id,ancestor_list,name,version,fitness\r\n1,[none],caf\xe9,1,\r\n2,[none],ok,\xc2\xb2,\r\n"
        b"3,[2]\r\n4,[2],scored,,much\r\n,[2],,,\r\n6,[2],late,,\r\n7,\"[2],cut,,\r\n8,[2],,,\r\n"
    )
    refused = run("import", "bad.csv", "--format", "alife", "--db", "bad.db")
    assert refused.exit_code == 1
    for line, reason in ((2, "not of its encoding"), (4, "2 cells, and the header 5"),
                         (5, "'much'|\"much\""), (6, "no id"), (8, "quote not closed")):
        assert re.search(rf"^  line {line}: .*({reason})", refused.stderr, re.MULTILINE)
    with lineage.open("bad.db") as registry:
        assert {one.name for one in registry.find(ghosts=True)} == {"ok", "late"}
        assert {one.name for one in registry.ancestors("late")} == {"ok"}
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    assert "no column ancestor_list and id" in run(
        "import", "no.csv", "--format", "alife", "--db", "z.db").stderr  # fmt: skip


def test_a_format_is_known_by_the_ending_of_its_file(registry: lineage.Registry) -> None:
    db = registry.database.address.file
    for name, begins in (("x.graphml", "<?xml"), ("x.gexf", "<?xml"), ("x.txt", '{"name"')):
        assert run("export", "-o", name, "--db", str(db)).exit_code == 0
        assert Path(name).read_text("utf-8").startswith(begins)
    told = run("import", "x.gexf", "--db", "z.db")
    assert told.exit_code == 1
    assert "is x.gexf JSON Lines?" in told.stderr


# ---- provenance


def test_prov_reads_prov_json(registry: lineage.Registry, written: Any) -> None:
    from prov.model import ProvDerivation, ProvDocument, ProvEntity

    document = ProvDocument.deserialize(content=written("prov"), format="json")
    assert len(list(document.get_records(ProvEntity))) == len(registry.find(ghosts=True))
    derived = list(document.get_records(ProvDerivation))
    assert len(derived) == len(links(registry))
    assert "lineage:adapter" in str(document.get_provn())


def test_openlineage_events_meet_the_published_schema(
    registry: lineage.Registry, written: Any
) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads((ROOT / "tests" / "openlineage-2-0-2.json").read_text())
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    events = [json.loads(line) for line in written("openlineage").splitlines()]
    for event in events:
        validator.validate(event)
    read = {
        (parent["name"], event["outputs"][0]["name"])
        for event in events
        for parent in event["inputs"]
    }
    assert read == {(a, b) for a, b, _ in links(registry)}
    assert len({event["run"]["runId"] for event in events}) == len(events)


def test_cyclonedx_meets_the_published_schema(registry: lineage.Registry, written: Any) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = written("cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    (merge,) = [one for one in bom["components"] if one["name"] == "merge"]
    assert [one["name"] for one in merge["pedigree"]["ancestors"]] == ["ft", "other"]
    (lora,) = [one for one in bom["components"] if one["name"] == "lora"]
    (ft,) = [one for one in bom["components"] if one["name"] == "ft"]
    assert {"ref": lora["bom-ref"], "dependsOn": [ft["bom-ref"]]} in bom["dependencies"]


@pytest.mark.parametrize("kind", [kind for kind in formats.EXPORTS if kind != "cyclonedx"])
def test_an_empty_registry_is_an_empty_document(kind: str, tmp_path: Path) -> None:
    assert run("init", "--db", "empty.db").exit_code == 0
    done = run("export", "--format", kind, "--db", "empty.db")
    assert done.exit_code == 0, done.output
    if kind in ("graphml", "gexf"):
        ElementTree.fromstring(done.stdout)
    elif kind == "prov":
        json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["jsonl", "openlineage", "prov", "cyclonedx"])
def test_no_format_of_lines_steers_a_terminal(written: Any, kind: str) -> None:
    assert "\x1b" not in written(kind)
    assert "\u202e" not in written(kind)


def test_on_a_terminal_no_format_steers_it(
    registry: lineage.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a file or a pipe, a CSV holds names as they are; a terminal is another matter."""
    from lineage.cli.common import for_terminal

    with registry.database.read() as connection:
        text = "".join(map(for_terminal, formats.export(connection, "alife")))
    assert "\x1b" not in text
    assert "\\x1b[31m" in text


# ---- the commands


def test_the_commands(registry: lineage.Registry, tmp_path: Path) -> None:
    db = str(tmp_path / "r.db")
    for kind, ending in (("nexus", "nex"), ("phyloxml", "xml"), ("mermaid", "mmd"), ("dot", "gv")):
        done = run("tree", "base", "--output", f"t.{ending}", "--db", db)
        assert done.exit_code == 0, done.output
        direct = run("tree", "base", "--format", kind, "--db", db)
        assert Path(f"t.{ending}").read_text() == direct.stdout
    told = run("tree", "--format", "newick", "--db", db)
    assert "1 link to further parents" in told.stderr
    done = run("export", "--format", "gexf", "--output", "all.gexf", "--db", db)
    assert done.output == "The registry is written to all.gexf.\n"
    assert run("import", "all.gexf", "extra", "--db", db).exit_code == 2
    assert run("import", "nowhere.graphml", "--db", db).exit_code == 2


# ---- MLflow: tests/frameworks/test_mlflow.py

def test_mlflow_that_is_not_installed_is_told() -> None:
    if shutil.which("mlflow", path=str(Path(sys.executable).parent)):
        pytest.skip("MLflow is installed here.")
    done = run("import", "mlflow", "sqlite:///x.db", "--db", "m.db")
    assert done.exit_code == 1
    assert "pip install mlflow" in done.stderr
