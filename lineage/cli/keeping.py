"""Keeping a registry and the command itself in order: schema, backups, shell completion."""

from __future__ import annotations

import click

from lineage.cli.common import asked, emit, json_option, note, open_registry, registry_options
from lineage.shown import counted, shown, size


@click.group()
def db() -> None:
    """Keep the database of the registry in order."""


@db.command()
@registry_options
def upgrade() -> None:
    """Bring a registry of an older lineage to the newest schema.

    A copy of an SQLite file is kept beside it. A copy of PostgreSQL is its administrator's to make.
    """
    from lineage.upgrade import upgrade

    done = upgrade(**asked())
    if not done.changed:
        click.echo(f"{shown(done.registry)} has the newest schema already: {done.after}")
        return
    kept = f"; a copy is kept at {shown(str(done.copy))}" if done.copy else ""
    click.echo(f"upgraded {shown(done.registry)} from schema {done.before} to {done.after}{kept}")


@db.command()
@click.argument("file", type=click.Path())
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option
@registry_options
def backup(file: str, force: bool, as_json: bool) -> None:
    """Copy the registry to FILE, verified, while others go on writing.

    SQLite by its online backup, PostgreSQL by pg_dump, or as an SQLite file where there is none
    that knows the server. The file is there once it is whole.
    """
    from lineage.cli.checking import progress

    registry = open_registry()
    with progress() as tell:
        done = registry.backup(file, force=force, progress=lambda *far: tell("copied", *far))
    if as_json:
        emit(done)
        return
    held = counted(done.organisms, "organism")
    click.echo(f"{held} in {shown(done.file)}: {size(done.bytes)}, verified.")
    click.echo(f"Keep it on another disk. It comes back with: {shown(done.restore)}")


@db.command()
@click.argument("file", type=click.Path())
@json_option
@registry_options
def restore(file: str, as_json: bool) -> None:
    """Bring a backup back. What it replaces is kept beside it.

    Nobody else may have the registry open meanwhile. PostgreSQL takes SQLite files, and what
    pg_dump wrote where pg_restore is there to read it; it keeps what it held in a schema of its
    own.
    """
    from lineage.backup import restore
    from lineage.cli.checking import progress

    with progress() as tell:
        done = restore(file, **asked(), progress=lambda *far: tell("copied", *far))
    if as_json:
        emit(done)
        return
    kept = f"; what was there is kept at {shown(done.kept)}" if done.kept else ""
    click.echo(f"{shown(done.registry)} holds {counted(done.organisms, 'organism')} again{kept}")
    if done.outdated:
        click.echo(f"It has schema {done.schema}: `lineage db upgrade` brings it up to date.")


@db.command(short_help="Copy a whole registry to another database.")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@json_option
def copy(source: str, target: str, as_json: bool) -> None:
    """Copy a whole registry to another database: a file, or the URL of PostgreSQL.

    Complete, with its ids and its history, as of one moment, while others go on writing to SRC; and
    compared row by row before it counts. DST is made, or must be empty.

    \b
    lineage db copy .lineage/registry.db postgresql://me@host/lineage
    """
    from lineage.cli.checking import progress
    from lineage.copying import copy

    with progress() as tell:
        done = copy(source, target, progress=tell)
    if as_json:
        emit({"source": done.source, "target": done.target, "rows": done.rows})
        return
    rows = counted(sum(done.rows.values()), "row")
    held = counted(done.organisms, "organism")
    click.echo(f"{held}, {rows}, copied to {shown(done.target)} and compared.")


@db.command()
@click.option("--prefix", help="Call them PREFIX_reader and so on; by default after the database.")
@click.option("--apply", is_flag=True, help="Make the roles, and set their rights.")
@json_option
@registry_options
def roles(prefix: str | None, apply: bool, as_json: bool) -> None:
    """Roles of a team on PostgreSQL: who reads, records, culls.

    Shows the SQL, which an administrator may run as well. A reader reads. A writer also records:
    registers, scores, meters, links, tags. An owner also takes back, renames and culls. After
    `lineage db upgrade`, once more with --apply.
    """
    from lineage.roles import roles

    done = roles(asked().get("db"), prefix=prefix, apply=apply)
    if as_json:
        emit(done)
        return
    for statement in () if apply else done.sql:
        click.echo(f"{shown(statement)};")
    listed = ", ".join(map(shown, done.names.values()))
    if apply:
        note(f"{shown(done.registry)} has the roles {listed}.")
    else:
        note(f"Nothing was changed. With --apply these are run in {shown(done.registry)}.")
    note("A person gets one with: GRANT role TO person;")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: eval "$(lineage completion bash)"               in ~/.bashrc
    zsh:  eval "$(lineage completion zsh)"                in ~/.zshrc
    fish: lineage completion fish > ~/.config/fish/completions/lineage.fish
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None  # click knows all three
    group = ctx.find_root().command
    click.echo(script(group, {}, "lineage", "_LINEAGE_COMPLETE").source())
