"""Policies: what a person lets selection do. A frozen dataclass, read from TOML by hand-written
checks that name the line, and told as sentences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """What selection compares, whom it spares. See docs/selection.md for what each setting does.

    `confidence` is that of a pair, one-sided; `delta` is in units of the metric; `cost_margin` a
    share; `grace` in seconds."""

    name: str = "frontier"
    confidence: float = 0.999
    correct_comparisons: bool = False
    delta: float = 0.0
    cost_margin: float = 0.0
    cost: str = "joules"
    mix_estimates: bool = False
    allow_remote: bool = False
    duplicates: str = "keep"
    niches: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ("production",)
    grace: float = 0.0
    keep_founders: bool = False


FRONTIER = Policy()
