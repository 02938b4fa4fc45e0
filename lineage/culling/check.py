"""What is wrong with the quarantines of this host: whether the disk holds what the registry says,
and what an interrupted cull left. Looking changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from lineage.culling import act, quarantine
from lineage.database import Database
from lineage.errors import CullError
from lineage.references import this_host


def wrong(database: Database, deep: bool) -> Iterator[str]:
    """A line for each file, or folder, that is not as the registry has it. `deep` reads every file
    in quarantine; else one is known by its size and time."""
    with database.read() as connection:
        held = [one for one in act.held(connection) if one.host == this_host()]
        uris = act.on_this_host(connection, None)
    for one in held:
        folder = one.stored.folder
        try:
            with quarantine.looked_into(folder) as box:
                for file in one.stored.files:
                    if why := _why(box, file.path, deep):
                        yield f"{os.path.join(folder, quarantine.FILES, file.path)}: {why}"
        except FileNotFoundError:
            yield f"{folder}: it is not there"
        except (OSError, CullError) as error:
            yield f"{folder}: {error}"
    for folder, _ in act.interrupted(database, uris):
        yield f"{folder}: a cull was interrupted there"


def _why(box: quarantine.Box, path: str, deep: bool) -> str:
    if box.status(path) is None:
        return "it is not there"
    return quarantine.altered(box, path, lambda _: None, deep=deep)
