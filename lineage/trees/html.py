"""The tree page: a family of any size as one HTML file that needs nothing but itself. The modules
of `viz/page/` are poured into it as one script, the family as deflated columns."""

from __future__ import annotations

import base64
import re
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files

from markupsafe import Markup

from lineage.shown import shown
from lineage.trees import columns
from lineage.trees.family import Family
from lineage.trees.pages import digest, fill

IMPORT = re.compile(r"^import (\{[^}]*\}) from \"\./([a-z]+)\.js\";\n", re.M)
EXPORT = re.compile(r"^export (?=(?:async )?function (\w+)|(?:const|class) (\w+))", re.M)


def render(family: Family, *, title: str) -> str:
    """One self-contained page, as text to be written in UTF-8. Nothing in it asks another host,
    and a Content-Security-Policy forbids it to; every name in it is text."""
    drawn, details = columns.pack(family, shown(title))
    blocks = {"drawn": drawn, "details": details}
    return _page(
        title,
        script(),
        blocks={name: base64.b64encode(block).decode() for name, block in blocks.items()},
        connect="",
    )


def explorer(title: str) -> str:
    """The same page without a family: it asks the server that it came from, and nobody else."""
    return _page(title, script("page", "explorer"), blocks={}, connect="connect-src 'self'; ")


def _page(title: str, code: str, blocks: dict[str, str], connect: str) -> str:
    style = files("lineage.viz").joinpath("page.css").read_text("utf-8")
    policy = _policy(code, style, connect)
    return fill(
        "page.html", title=shown(title), policy=policy, style=style, script=Markup(code),
        blocks=blocks,
    )  # fmt: skip


@cache
def script(*folders: str) -> str:
    """The modules of folders of `viz/` as one script; of two of the same name the later counts.
    Each becomes a function that gives what it exports, in an order in which all that it imports is
    there; so names cannot meet, and a module must not export a variable that changes."""
    sources = {
        one.name.removesuffix(".js"): one.read_text("utf-8")
        for folder in folders or ("page",)
        for one in files("lineage.viz").joinpath(folder).iterdir()
        if one.name.endswith(".js")
    }
    needs = {name: [used for _, used in IMPORT.findall(sources[name])] for name in sorted(sources)}
    order = TopologicalSorter(needs).static_order()
    return "".join(['"use strict";\n', *(_wrapped(name, sources[name]) for name in order)])


def _wrapped(name: str, text: str) -> str:
    body = IMPORT.sub(lambda one: f"const {one[1].replace(' as ', ': ')} = in_{one[2]};\n", text)
    given = ", ".join(a or b for a, b in EXPORT.findall(body))
    return f"const in_{name} = (() => {{\n{EXPORT.sub('', body)}return {{ {given} }};\n}})();\n"


def _policy(code: str, style: str, connect: str) -> str:
    """This script and this style only; no request but what `connect` allows, no form, no frame.
    `data:` is the icon."""
    return (
        f"default-src 'none'; script-src {digest(code)}; style-src {digest(style)}; "
        f"{connect}img-src data:; base-uri 'none'; form-action 'none'"
    )
