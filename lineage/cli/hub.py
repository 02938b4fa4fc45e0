"""The Hub: its models into the registry, and what is known of one onto its card. These commands
alone talk to another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lineage.cli.common import (
    emit,
    json_option,
    note,
    open_registry,
    registry_options,
    so_far,
    status_line,
    styled,
)
from lineage.cli.recording import open_or_make
from lineage.shown import counted, shown

if TYPE_CHECKING:
    from lineage.hub.pull import Pulled
    from lineage.hub.push import Push

LISTED = 10
"""How much of what was set aside is told, one by one."""


@click.group()
def hub() -> None:
    """Models of the Hugging Face Hub in, and cards out.

    What is asked for, and nothing else, leaves this machine. The token is that of `hf auth login`.
    """


@hub.command(short_help="Bring models in, by name or as a list of the Hub.")
@click.argument("models", metavar="[ORG/NAME]...", nargs=-1)
@click.option("--ancestors", is_flag=True, help="What they descend from, too.")
@click.option("--descendants", is_flag=True, help="What descends from them, too.")
@click.option("--depth", type=click.IntRange(min=1), help="So many links away at most.")
@click.option("--author", metavar="ORG", help="All models of ORG.")
@click.option("--filter", "filters", metavar="TAG", multiple=True,
              help="All models with this tag; several: with all of them.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="All models of the Hub.")
@click.option("--since", metavar="TIME|last", help="Of a list: only those changed since.")
@click.option("--digests", is_flag=True,
              help="Of a list: the weights' digests too, a request a model.")  # fmt: skip
@json_option
@registry_options
def pull(
    models: tuple[str, ...],
    ancestors: bool,
    descendants: bool,
    depth: int | None,
    author: str | None,
    filters: tuple[str, ...],
    everything: bool,
    since: str | None,
    digests: bool,
    as_json: bool,
) -> None:
    """Bring models in: each ORG/NAME with its relatives as asked, or a list of the Hub.

    Recorded are parents and relations, digests of the weights (without their download), licence,
    parameters, times, downloads, scores and emissions that cards declare. A list that was cut off
    goes on where it stopped.

    \b
    lineage hub pull HuggingFaceH4/zephyr-7b-beta --ancestors
    lineage hub pull --filter base_model:mistralai/Mistral-7B-v0.1
    lineage hub pull --all --since last
    """
    listed = bool(author or filters or everything)
    if bool(models) == listed:
        raise click.UsageError(
            "name models, like ORG/NAME; or a list: --author, --filter or --all."
        )
    if everything and (author or filters):
        raise click.UsageError("--all is without --author and --filter.")
    if listed and (ancestors or descendants or depth):
        raise click.UsageError("--ancestors, --descendants and --depth are of named models.")
    if models and (since or digests):
        raise click.UsageError("--since and --digests are of lists: named models have digests.")
    if depth and not (ancestors or descendants):
        raise click.UsageError("--depth needs --ancestors or --descendants.")
    registry = open_or_make(named=True)
    with _progress() as tell:
        if listed:
            done = registry.hub_pull_list(
                author=author, filters=filters, since=since, digests=digests, progress=tell
            )
        else:
            done = registry.hub_pull(
                *models, ancestors=ancestors, descendants=descendants, depth=depth, progress=tell
            )
    _told(done, as_json)


@hub.command(short_help="Bring in a Parquet dump of the Hub.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@json_option
@registry_options
def dump(file: str, as_json: bool) -> None:
    """Bring in a Parquet dump of the Hub: a row a model, with columns as the API calls them.

    `id` is required; `tags`, `cardData`, `sha`, `createdAt`, `lastModified`, `downloads`,
    `safetensors` and a few more are read where they are there. Needs pyarrow.
    """
    registry = open_or_make(named=True)
    with _progress() as tell:
        done = registry.hub_dump(file, tell)
    _told(done, as_json)


@hub.command()
@click.argument("ref")
@click.option("--to", metavar="ORG/NAME", help="The repository; by default that of its hf: place.")
@click.option("--apply", is_flag=True, help="Do it: open a pull request.")
@click.option("--direct", is_flag=True, help="With --apply: commit to main, no pull request.")
@json_option
@registry_options
def push(ref: str, to: str | None, apply: bool, direct: bool, as_json: bool) -> None:
    """Put what is known of REF on its card on the Hub, as a pull request.

    Its parents and their relation, its scores, its emissions, and a small tree. Without --apply
    the card is read and the difference shown.
    """
    if direct and not apply:
        raise click.UsageError("--direct needs --apply.")
    registry = open_registry()
    made = registry.hub_push(ref, to=to, direct=direct) if apply else registry.hub_push_plan(
        ref, to=to)  # fmt: skip
    if as_json:
        emit({"repo": made.repo, "diff": made.diff, "left_out": made.left_out, "url": made.url})
        return
    _show(made, apply)


def _show(made: Push, applied: bool) -> None:
    for one in made.left_out:
        note(f"left out: {one}")
    if not made.diff:
        click.echo(f"The card of {shown(made.repo)} says all of it already.")
        return
    if applied:
        click.echo(f"Sent to {shown(made.repo)}: {shown(made.url or '')}")
        return
    for line in made.diff.splitlines():
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.echo(styled(shown(line), fg=colour) if colour else shown(line))
    note(f"nothing was sent. --apply opens a pull request at {made.repo}.")


def _told(done: Pulled, as_json: bool) -> None:
    if as_json:
        emit(done)
        return
    if not done.seen:
        click.echo("No model fits that: nothing was read.")
        return
    seen = counted(done.seen, "model")
    resumed = ", from where the last pull stopped" if done.resumed else ""
    click.echo(
        f"{seen} read{resumed}: {done.created:,} new, {done.updated:,} gained something, "
        f"{done.unchanged:,} were known in full."
    )
    for old, new in list(done.renamed.items())[:LISTED]:
        note(f"{old} is called {new} now.")
    if done.missing:
        note(f"{counted(len(done.missing), 'ancestor is a ghost', 'ancestors are ghosts')}:")
        _list(list(done.missing.items()), len(done.missing))
    if done.set_aside:
        note(f"{counted(done.set_aside, 'thing was set aside', 'things were set aside')}:")
        _list(done.first, done.set_aside)


def _list(reasons: list[tuple[str, str]], count: int) -> None:
    for repo, reason in reasons[:LISTED]:
        click.echo(f"  {shown(repo)}: {shown(reason)}", err=True)
    if count > LISTED:
        click.echo(f"  … and {count - LISTED:,} more. The history keeps a hundred.", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Tells how many models are in."""
    with status_line() as tell:
        yield lambda count: tell(so_far(count, "models"))
