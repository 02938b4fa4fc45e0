"""The `lineage` command: a table of commands, each imported when it is called, and what happens
when one fails. `lineage --help` is printed from the table alone, so it is there at once."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import IO, Any, NoReturn

import click
from click.shell_completion import CompletionItem

from lineage import __version__
from lineage.cli.common import note, registry_options
from lineage.errors import InvalidValue, LineageError, RegistryUnavailable
from lineage.shown import shown

DONE, NO, WRONG_USAGE, UNREACHABLE, A_BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130
"""Exit codes: done (an empty list too); a no; wrong usage; the registry could not be reached; a
bug of ours (EX_SOFTWARE of sysexits.h); ended by Ctrl-C (128 + SIGINT)."""

PURPOSES: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "demo": ("demo:demo", "grow a small family, ask it, select, and draw its tree"),
        "init": ("recording:init", "make a registry in this folder"),
    },
    "Record": {
        "scan": ("scanning:scan", "register the checkpoints that lie in folders"),
        "register": ("recording:register", "register a checkpoint, with parents, scores, power"),
        "link": ("recording:link", "say that an organism descends from another"),
        "unlink": ("recording:unlink", "take a parent link back"),
        "score": ("recording:score", "record a fitness in a niche"),
        "meter": ("recording:meter", "record a power cost"),
        "alias": ("recording:alias", "give a version an alias, like production"),
        "tag": ("recording:tag", "tag an organism with keys and values"),
        "protect": ("recording:protect", "keep an organism from being selected against"),
        "unprotect": ("recording:unprotect", "take the protection back"),
    },
    "Correct": {
        "retract": ("correcting:retract", "strike out what is wrong, with a reason"),
        "rename": ("correcting:rename", "give an organism another name"),
        "relocate": ("correcting:relocate", "a folder or disk moved: rewrite its places"),
        "undo": ("correcting:undo", "take back what an event of the log did"),
    },
    "Ask": {
        "ls": ("reading:ls", "list organisms: filter, sort"),
        "show": ("reading:show", "everything known of one organism"),
        "log": ("reading:log", "what happened: who, when, what"),
        "ancestors": ("asking:ancestors", "what it descends from"),
        "descendants": ("asking:descendants", "what descends from it"),
        "path": ("asking:path", "the links between two organisms"),
        "mrca": ("asking:mrca", "the most recent common ancestors of two"),
        "diff": ("asking:diff", "how two organisms differ since they parted"),
        "best": ("acting:best", "who is best in a niche, or best for what it costs"),
        "bisect": ("acting:bisect", "which link changed the score, with few evaluations"),
        "impact": ("acting:impact", "what breaks and what is freed when one goes"),
        "where": ("acting:where", "a path that holds its files now, for scripts"),
    },
    "Draw": {
        "tree": ("drawing:tree", "the family as text, as a page, or for other programs"),
        "view": ("viewing:view", "explore the family in the browser, as it grows"),
    },
    "Select": {
        "select": ("selecting:select", "which organisms no longer justify their power bill"),
        "explain": ("selecting:explain", "why an organism lives, or is selected against"),
        "revive": ("selecting:revive", "take a mark of selection back"),
        "niche": ("niching:niche", "niches: who competes, who is on the front"),
        "cull": ("culling:cull", "put files of those selected against into quarantine"),
        "restore": ("culling:restore", "put files back from quarantine"),
        "lease": ("selecting:lease", "keep an organism from being selected until a time"),
        "release": ("selecting:release", "end a lease"),
    },
    "Exchange": {
        "hub": ("hub:hub", "models of the Hugging Face Hub in, and cards out"),
        "import": ("exchanging:import_", "read organisms: JSON Lines, tables, other trackers"),
        "export": ("exchanging:export", "write the registry: JSON Lines, or for other tools"),
        "sync": ("syncing:sync", "bring in what training runs left in their spool"),
    },
    "Keep": {
        "doctor": ("checking:doctor", "what is wrong with the registry, and what mends it"),
        "db": ("keeping:db", "the database: db upgrade, backup, restore, copy, roles"),
        "completion": ("keeping:completion", "print shell completion for bash, zsh or fish"),
    },
}
"""By purpose: command -> (module of lineage.cli and the attribute in it, one line of help)."""

COMMANDS = {name: entry for commands in PURPOSES.values() for name, entry in commands.items()}

# click 8.2 and later raise the help page; before that it is printed
_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class Commands(click.Group):
    """The command group, lazy; and the one place where errors become sentences and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(
            importlib.import_module(f"lineage.cli.{module}"), attribute
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(name, COMMANDS, 3, 0.5)
            hint = f" Nearest: {', '.join(near)}." if near else ""
            ctx.fail(f"there is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, COMMANDS))
        for purpose, commands in PURPOSES.items():
            with formatter.section(purpose):
                formatter.write_dl(
                    [(name.ljust(longest), help) for name, (_, help) in commands.items()]
                )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(name, help=help)
            for name, (_, help) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> NoReturn:
        """Run, and exit with one of the codes above. Never returns."""
        options.update(prog_name="lineage", standalone_mode=False)
        # A character that the terminal's encoding lacks must not stop an answer.
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(args, *rest, **options)
            sys.stdout.flush()
        except Exception as error:
            code = _told(error)
        sys.exit(code if isinstance(code, int) else DONE)


def _told(error: Exception) -> int:
    """Say what went wrong on stderr, in a sentence; the exit code for it."""
    if isinstance(error, BrokenPipeError):  # the reader has gone: nothing to say, nobody to tell
        _silence(sys.stdout)
        return NO
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, _NO_ARGUMENTS):  # `lineage` and `lineage db` alone ask what there is
        click.echo(str(error))
        return DONE
    if isinstance(error, click.ClickException):
        told = " ".join(error.format_message().split())  # click breaks lines and indents
        _say(told.replace("a valid integer range", "a whole number"))
        ctx = getattr(error, "ctx", None)
        if ctx is not None:
            click.echo(f"Try `{ctx.command_path} --help`.", err=True)
        return error.exit_code
    if isinstance(error, LineageError):
        _say(str(error))
        if isinstance(error, RegistryUnavailable):
            return UNREACHABLE
        return WRONG_USAGE if isinstance(error, InvalidValue) else NO
    if isinstance(error, OSError):  # a file that is not there, a full disk: no bug of ours
        _say(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
        return NO
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        click.echo(shown(line), err=True)
    _say(
        f"this is a bug in lineage {__version__}. Please report it with the lines above and the "
        "command that you gave."
    )
    return A_BUG


def _say(sentence: str) -> None:
    # click begins its own messages with a capital letter; lineage does not
    if sentence[1:2].islower():
        sentence = sentence[0].lower() + sentence[1:]
    note(sentence)


def _silence(stream: IO[str]) -> None:
    """Send what is still buffered to nowhere, or Python complains when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@registry_options
@click.version_option(__version__, message="lineage %(version)s")
def main() -> None:
    """The family tree of model checkpoints: who descends from whom, how fit each is in its
    niches, what it costs in power, and what no longer justifies its bill.

    REF, wherever a command takes one, is a name, name@v2, name@alias, eight or more digits of a
    digest, hf:org/name@revision, or a path. `lineage COMMAND --help` tells more."""
