"""What `lineage --help` imports, and how long it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

from bench import ROOT
from bench.timing import Figure, figure, in_turn, seconds
from bench.timing import raw as raw_of

HEAVY = ("sqlalchemy", "alembic", "networkx", "numpy", "huggingface_hub")

HELP = "import sys; sys.argv = ['lineage', '--help']; from lineage.cli import main; main()"
MODULES = f"""
import atexit, json, sys
def tell(): print(json.dumps([m for m in {HEAVY} if m in sys.modules]), file=sys.stderr)
atexit.register(tell)
{HELP}"""


def start(rounds: int) -> Figure:
    done = subprocess.run(
        [sys.executable, "-c", MODULES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stderr.strip().splitlines()[-1])
    assert "Usage" in done.stdout, done.stdout

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    sides = in_turn(rounds, lambda n: run(HELP), lambda n: run("pass"))
    more = median(sides.ours) - median(sides.theirs)
    return Figure(
        "`lineage --help`",
        f"imports none of {', '.join(HEAVY)}",
        f"imports {', '.join(loaded) or 'none'}; {seconds(median(sides.ours))}, of which "
        f"`python -c pass` {seconds(median(sides.theirs))}",
        not loaded,
        raw_of(sides) | {"loaded": loaded},
        f"{rounds} rounds in turn; lineage adds {seconds(more)}, {figure(sides.ratio)}x in all.",
    )
