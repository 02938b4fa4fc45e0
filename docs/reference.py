"""The reference of the guide, made from what is there while it is built: commands from click,
Python from signatures and docstrings. A hook of mkdocs (mkdocs.yml)."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import lineage
from lineage import arrivals, backup, frames, organism, registry
from lineage.cli import PURPOSES, main
from lineage.culling import act as moved
from lineage.culling import plan as culling
from lineage.doctor import findings as doctor
from lineage.hub import pull, push
from lineage.scan import scanning as scan
from lineage.selection import policy

TYPES = (
    organism.Organism, organism.Score, organism.PowerCost, organism.Parent, organism.Niche,
    organism.Link, organism.Place, organism.File, organism.Event, organism.Record,
    registry.Summary, registry.Outcome, registry.Clade, registry.Difference, registry.Ranking,
    registry.Bisection, registry.Impact, registry.Whereabouts, registry.Plan, registry.Explanation,
    registry.Family, registry.Competition, registry.Population, registry.Relocation,
    policy.Policy, culling.CullPlan, culling.Proposal, moved.Moves, moved.Stored, scan.Scan,
    scan.Seen, scan.Proposed, doctor.Checkup, backup.Backup, arrivals.Brought, pull.Pulled,
    push.Push,
)  # fmt: skip
"""What goes in, and what comes out."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the two pages."""
    for name, lines in (("commands.md", commands()), ("python.md", python())):
        files.append(File.generated(config, name, content="\n".join(lines) + "\n"))
    return files


def text(said: str | None) -> str:
    """A docstring as Markdown: what looks like HTML in it is text."""
    clean = inspect.cleandoc(said or "").replace("\b\n", "")
    return re.sub(r"(`[^`]*`)|([<>])", lambda m: m[1] or {"<": "&lt;", ">": "&gt;"}[m[2]], clean)


# ---- commands


def commands() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield text(main.help)
    yield ""
    yield (
        "Every reading command takes `--json`. The exit code is 0 for done (an empty list too), 1 "
        "for a no, 2 for wrong usage, 3 when the registry could not be reached."
    )
    context = click.Context(main, info_name="lineage")
    for purpose, names in PURPOSES.items():
        yield f"\n## {purpose}\n"
        for name in names:
            command = main.get_command(context, name)
            assert command is not None
            yield from _command(click.Context(command, context, info_name=name), command, 3)


def _command(context: click.Context, command: click.Command, level: int) -> Iterator[str]:
    yield f"{'#' * level} {context.command_path.removeprefix('lineage ')}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```\n"
    yield text(command.help) + "\n"
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    told = [one.get_help_record(context) for one in options]
    rows = [record for record in told if record]
    if rows:
        yield "| option | |\n|---|---|"
        for names, help in rows:
            yield f"| `{_cell(names)}` | {_cell(text(help))} |"
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(click.Context(inner, context, info_name=name), inner, level + 1)


def _cell(said: str) -> str:
    return " ".join(said.split()).replace("|", "\\|")


# ---- Python


def python() -> Iterator[str]:
    yield "# Python"
    yield ""
    yield (
        "`import lineage` loads nothing heavy. Verbs first, plain types in, frozen dataclasses "
        "out. All errors are `lineage.LineageError`, or one of its subclasses."
    )
    yield "\n## Open\n"
    yield from _function(lineage.open, "lineage.open")
    yield "\n## The registry\n"
    yield text(registry.Registry.__doc__) + "\n"
    for name, member in inspect.getmembers(registry.Registry, inspect.isfunction):
        if not name.startswith("_"):
            yield from _function(member, f"registry.{name}", method=True)
    yield "\n## Further\n"
    yield from _function(frames.to_pandas, "lineage.to_pandas")
    yield from _function(frames.to_networkx, "lineage.to_networkx")
    yield "\n## Types\n"
    for type_ in TYPES:
        yield from _type(type_)


def _function(function: Any, name: str, *, method: bool = False) -> Iterator[str]:
    yield f"### {name.rpartition('.')[2]}\n"
    signature = inspect.signature(function)
    given = list(signature.parameters.values())[1 if method else 0 :]
    yield f"```python\n{_call(name, given, signature.return_annotation)}\n```\n"
    yield text(function.__doc__) + "\n"


def _call(name: str, given: list[inspect.Parameter], returns: Any) -> str:
    """A signature, a parameter a line where it would be long."""
    end = "" if returns is inspect.Signature.empty else f" -> {returns}"
    whole = [str(one).replace("'", "") if one.annotation else str(one) for one in given]
    keyword = next((i for i, one in enumerate(given) if one.kind is one.KEYWORD_ONLY), None)
    if keyword is not None and not any(one.kind is one.VAR_POSITIONAL for one in given):
        whole.insert(keyword, "*")
    line = f"{name}({', '.join(whole)}){end}"
    if len(line) <= 80:
        return line
    return "\n".join([f"{name}(", *(f"    {one}," for one in whole), f"){end}"])


def _type(type_: Any) -> Iterator[str]:
    yield f"### {type_.__name__}\n"
    told = [f"{field.name}: {field.type}" for field in dataclasses.fields(type_)]
    yield "```python\n" + "\n".join(told) + "\n```\n"
    yield text(type_.__doc__) + "\n"


