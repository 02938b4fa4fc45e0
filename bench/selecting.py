"""What selection costs over all scored organisms, against the bare exact window query."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench import raw
from bench.timing import Figure, against, figure, in_turn, seconds
from bench.timing import raw as raw_of
from lineage import database
from lineage.selection import front

# The query of DESIGN.md, section 6. Bare: no vital status, no ghosts, no estimates, no adapter that
# costs what its base costs too, no files here or elsewhere, no fronts, no guards.
DOMINATED = """
SELECT organism FROM (
  SELECT organism, CASE WHEN max(fit) OVER cheaper >= fit OR max(fit) OVER equal > fit
    THEN 1 ELSE 0 END AS beaten
  FROM candidate
  WINDOW niches AS (PARTITION BY niche, per ORDER BY joules),
    cheaper AS (niches GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    equal AS (niches GROUPS BETWEEN CURRENT ROW AND CURRENT ROW)
) GROUP BY organism HAVING min(beaten) = 1"""

CANDIDATE = """
SELECT f.organism, f.niche, p.per, p.joules,
  CASE n.direction WHEN 'lower' THEN -f.value ELSE f.value END AS fit
FROM fitness f JOIN niche n ON n.id = f.niche JOIN power p ON p.organism = f.organism
WHERE f.current = 1 AND n.direction IS NOT NULL
  AND p.phase = 'serving' AND p.current = 1 AND p.joules IS NOT NULL"""

BARE = f"WITH candidate AS ({CANDIDATE}) {DOMINATED}"


def selection(path: Path, size: int, rounds: int) -> list[Figure]:
    """The sweep (fronts of all niches, all that are beaten everywhere, what guards them) against
    the bare query over the same tables, and over a narrow table that was made beforehand."""
    ours, bare = database.connect(path, create=False), raw.connect(path)
    bare.execute(f"CREATE TEMP TABLE candidate AS {CANDIDATE}")

    def sweep(_: int) -> int:
        with ours.read() as connection:
            return len(front.sweep(connection)[1])

    beaten, plain = sweep(0), len(bare.execute(BARE).fetchall())
    joined = in_turn(rounds, sweep, lambda n: bare.execute(BARE).fetchall())
    narrow = in_turn(max(2, rounds // 2), sweep, lambda n: bare.execute(DOMINATED).fetchall())
    bare.close()
    ours.close()
    about = (
        f"{rounds} rounds in turn; in fifths {{}}x. Beaten everywhere: {beaten:,}, by the bare "
        f"query, which lets adapters off what their bases cost, {plain:,}."
    )
    return [
        Figure(
            f"selection over {size:,} scored organisms in 200 niches, against the bare exact "
            "window query over the same tables",
            "≤ 1.5x",
            f"{figure(joined.ratio)}x ({against(joined)})",
            joined.ratio <= 1.5,
            raw_of(joined) | {"beaten": beaten},
            about.format(joined.spread),
        ),
        Figure(
            "the same against the window query over a narrow table that was made beforehand",
            "-",
            f"{figure(narrow.ratio)}x ({against(narrow)})",
            None,
            raw_of(narrow),
            f"For comparison: the table (organism, niche, per, joules, fit) is not free, and no "
            f"registry keeps it. Sweep {seconds(median(narrow.ours))}.",
        ),
    ]
