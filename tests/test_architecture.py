"""Who may import whom: every module of lineage/ has a floor, and imports only downwards, or on
its own floor without circles. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS: dict[int, str] = {
    1: "answers errors organism shown energy references schema database remote workers",
    2: "store chain configurations corrections undoing relocation genome links registration "
    "identity registering snapshots upgrade migrations backup copying dumps roles spool arrivals "
    "costs standings",
    3: "pedigree ledger clades regression best impact whereabouts",
    4: "selection doctor culling",
    5: "frames trees formats viz hub readers scan",
    6: "registry",
    7: "cli examples integrations server",
}
"""Rooms from the ground up: modules and packages directly under `lineage`."""

FLOOR = {f"lineage.{room}": floor for floor, rooms in FLOORS.items() for room in rooms.split()}
FLOOR["lineage"] = 6  # the name itself hands out what registry.py has

MAPPED = {
    "lineage.examples": "examples",
    "lineage.migrations": "db/migrations",
    "lineage.viz": "viz",
}
"""Packages of the wheel that lie elsewhere in the checkout (setup.cfg, package_dir)."""

HEAVY = {"alembic", "huggingface_hub", "networkx", "numpy", "pandas", "pyvis", "rich", "sqlalchemy"}


def folders() -> dict[str, Path]:
    return {"lineage": ROOT / "lineage"} | {name: ROOT / at for name, at in MAPPED.items()}


@cache
def modules() -> dict[str, ast.Module]:
    """Dotted name -> syntax tree of every module that a user can import."""
    found = {}
    for package, folder in folders().items():
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found[name] = ast.parse(file.read_text("utf-8"), str(file))
    return found


def room(module: str) -> str:
    """`lineage.trees.text` is in the room `lineage.trees`."""
    return ".".join(module.split(".")[:2])


def imports(tree: ast.AST) -> Iterator[str]:
    """The names of the modules that `tree` imports, wherever in it, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in modules():
                    yield inner
                elif inner != "lineage.__version__":  # a constant: it needs nothing
                    yield str(node.module)


def own_imports(module: str) -> set[str]:
    return {
        name
        for name in imports(modules()[module])
        if name.split(".")[0] == "lineage" and name != module
    }


INNER = sorted(name for name in modules() if name != "lineage")


def test_every_module_has_a_floor_and_every_room_exists() -> None:
    rooms = {room(name) for name in modules()}
    assert not rooms - FLOOR.keys(), "give these a floor in FLOORS"
    assert not FLOOR.keys() - rooms, "these are in FLOORS and nowhere else"


@pytest.mark.parametrize("module", INNER)
def test_a_module_imports_no_floor_above_its_own(module: str) -> None:
    own = FLOOR[room(module)]
    above = {name for name in own_imports(module) if FLOOR[room(name)] > own}
    assert not above, f"{module} is on floor {own} and imports {above} from above"


def test_no_circles() -> None:
    graph = nx.DiGraph((name, used) for name in INNER for used in own_imports(name))
    circles = [" -> ".join((*circle, circle[0])) for circle in nx.simple_cycles(graph)]
    assert not circles


def at_start(tree: ast.Module) -> ast.Module:
    """What runs when the module is imported: no functions, nothing for type checkers alone."""

    class Start(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None: ...
        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None: ...
        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)

    source = ast.unparse(tree)  # a copy: the trees are shared
    return Start().visit(ast.parse(source))  # type: ignore[no-any-return]


LIGHT = sorted(name for name in modules() if name == "lineage" or room(name) == "lineage.cli")


@pytest.mark.parametrize("module", LIGHT)
def test_doors_open_without_anything_heavy(module: str) -> None:
    needed = {name.split(".")[0] for name in imports(at_start(modules()[module]))}
    assert not needed & HEAVY, "import these in the functions that need them"


def test_the_ground_knows_no_sql() -> None:
    for module in ("lineage.errors", "lineage.organism", "lineage.shown", "lineage.energy"):
        assert not {name.split(".")[0] for name in imports(modules()[module])} & HEAVY
