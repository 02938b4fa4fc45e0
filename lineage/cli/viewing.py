"""Viewing: the explorer in the browser, over a server on this machine."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from contextlib import suppress
from urllib.parse import urlencode

import click

from lineage.cli.common import note, open_registry, registry_options
from lineage.errors import LineageError
from lineage.shown import shown

LOOPBACK = "127.0.0.1"


@click.command()
@click.argument("ref", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default any free one.")
@click.option("--host", default=LOOPBACK, show_default=True, help="The interface to listen on.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@registry_options
def view(ref: str | None, port: int, host: str, no_browser: bool) -> None:
    """Explore the family of REF in the browser, or the whole forest. What is registered meanwhile
    appears by itself.

    The address is printed. It holds a random token, and without it nobody is answered. Nothing is
    written to the registry. Ctrl-C ends it.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401

        from lineage import server
    except ImportError as error:
        raise LineageError(
            f"the explorer needs starlette and uvicorn ({error.name} is not installed): "
            "`pip install 'checkpoint-lineage[view]'`."
        ) from None
    registry = open_registry()
    query = ""
    if ref is not None:
        query = "?" + urlencode({"ref": registry.get(ref).ref})
    names = frozenset(server.LOOPBACK)
    if host not in names:
        names |= {host, socket.gethostname().lower(), socket.getfqdn().lower()}
        note(
            f"warning: whoever reaches {host} and learns the address can read the whole registry, "
            "and it goes over the network unencrypted."
        )
    token = secrets.token_urlsafe(24)
    bound = server.listen(host, port)
    address = f"http://{_called(host)}:{bound.getsockname()[1]}/{token}/{query}"
    with suppress(KeyboardInterrupt):  # that is how one ends it
        click.echo(shown(address))
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        server.serve(registry, bound, token, names)


def _called(host: str) -> str:
    """How a browser on this machine reaches what listens on `host`."""
    if host in ("0.0.0.0", "::", ""):
        return socket.gethostname().lower()
    return f"[{host}]" if ":" in host else host
