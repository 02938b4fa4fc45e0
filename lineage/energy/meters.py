"""Meters for an interval of work: start, stop, and a PowerCost that says by what it is known. In
order of trust: energy counters, codecarbon, CPU seconds at published watts."""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from lineage.energy.counters import (
    POWERCAP,
    UNREADABLE,
    WATTS_PER_CORE,
    Counter,
    CpuTime,
    Nvml,
    Rapl,
)
from lineage.energy.overlap import Entry
from lineage.energy.site import JOULES_PER_KWH, Site
from lineage.errors import LineageError
from lineage.organism import PHASES, PowerCost, one_of

SAMPLE_SECONDS = 60.0
"""How often a running interval reads its counters. A RAPL counter turns over after some 262 kJ: one
turn between two readings can be seen, two cannot, and a package would need 4 kW for two."""


class Meter(Protocol):
    """Measures intervals of work, one after the other."""

    def start(self) -> None:
        """Begin an interval; one that runs already is given up."""
        ...

    def stop(self) -> PowerCost | None:
        """End the interval: joules and seconds, with a fresh UUID, so that it adds up once wherever
        it is sent. None where no interval runs."""
        ...


def meter(
    phase: str = "training",
    *,
    site: Site | None = None,
    watts_per_core: float = WATTS_PER_CORE,
    powercap: Path = POWERCAP,
    folder: Path | None = None,
) -> Meter:
    """The most trusted meter of this machine for `phase`.

    Energy counters of NVIDIA boards (NVML) and of CPU packages (RAPL), as many as can be read, add
    up to `measured`; what has no counter is left out, and the meter's name says what was counted.
    Else codecarbon, where it is installed and `site` names a country (it is never let look up where
    it is), and else CPU seconds times `watts_per_core`, both `estimated`. `site` is by default what
    the environment says. `folder` holds the entries of the meters that run on this machine.

    Raises InvalidValue for an unknown phase, watts below zero or a wrong setting; start and stop
    raise nothing."""
    one_of(phase, PHASES, "phase")  # now, and not after hours of training
    site = Site.from_environment() if site is None else site
    counters = _counters(powercap)
    if not counters and site.country and importlib.util.find_spec("codecarbon"):
        return Codecarbon(phase, site, CpuTime(watts_per_core))
    return Counters(phase, site, counters, CpuTime(watts_per_core), folder)


def _counters(powercap: Path) -> list[Counter]:
    """The counters that this machine lets us read."""
    found: list[Counter] = []
    with suppress(*UNREADABLE):
        found.append(Nvml())
    with suppress(*UNREADABLE):
        found.append(Rapl(powercap))
    return found


class Counters:
    """A meter that reads counters at both ends: `measured`, or `last` where none can be read."""

    def __init__(
        self,
        phase: str,
        site: Site,
        measured: Sequence[Counter],
        last: Counter,
        folder: Path | None = None,
    ) -> None:
        self._phase, self._site, self._folder = phase, site, folder
        self._measured, self._last = tuple(measured), last
        self._running: _Running | None = None

    def start(self) -> None:
        if self._running is not None:
            self._running.end()
        self._running = _Running(self._measured, self._last, self._folder)

    def stop(self) -> PowerCost | None:
        if self._running is None:
            return None
        running, self._running = self._running, None
        seconds, overlaps = running.end()
        used = running.used(self._measured) or running.used([self._last])
        if not used:
            return None
        names = [counter.name for counter, _ in used]
        if overlaps and used[0][0].source == "measured":  # CPU seconds are a process's own
            names.append("overlapping other runs on this machine, whose work it counts too")
        cost = PowerCost(
            joules=sum(joules for _, joules in used),
            phase=self._phase,
            seconds=seconds,
            source=used[0][0].source,
            meter="; ".join(names),
            uuid=str(uuid.uuid4()),
        )
        return self._site.priced(cost)


class _Running:
    """An interval that runs: what the counters showed when it began, its entry among those of the
    machine, and a thread that reads the counters now and then, so that no turn goes unseen."""

    def __init__(self, measured: Sequence[Counter], last: Counter, folder: Path | None) -> None:
        self._began = time.perf_counter()
        self._entry = Entry(folder)
        self._first: dict[int, float] = {}
        for counter in (*measured, last):
            with suppress(*UNREADABLE):
                self._first[id(counter)] = counter.joules()
        self._ended = threading.Event()
        self._watcher = threading.Thread(
            target=self._watch, args=(measured,), name="lineage-meter", daemon=True
        )
        self._watcher.start()

    def _watch(self, measured: Sequence[Counter]) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._entry.look()
            for counter in measured:
                with suppress(*UNREADABLE):
                    counter.joules()

    def end(self) -> tuple[float, bool]:
        """Seconds since it began, and whether it overlapped another interval."""
        self._ended.set()
        self._watcher.join()
        return time.perf_counter() - self._began, self._entry.end()

    def used(self, counters: Sequence[Counter]) -> list[tuple[Counter, float]]:
        """Joules by those counters that could be read at both ends: one that went away meanwhile
        must not stop a training run."""
        found = []
        for counter in counters:
            with suppress(*UNREADABLE):
                if id(counter) in self._first:
                    found.append((counter, counter.joules() - self._first[id(counter)]))
        return found


class Codecarbon:
    """codecarbon's own estimate (https://github.com/mlco2/codecarbon), in its offline mode, of this
    machine in a country that the user gave. What it raises is never passed on: the CPU seconds of
    `last` count then."""

    def __init__(self, phase: str, site: Site, last: Counter) -> None:
        self._phase, self._site, self._last = phase, site, last
        self._spare = Counters(phase, site, (), last)
        self._tracker: Any = None

    def start(self) -> None:
        self._spare.start()
        self._tracker = None
        with suppress(Exception):
            from codecarbon import OfflineEmissionsTracker

            logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it greets on stderr
            tracker = OfflineEmissionsTracker(
                country_iso_code=self._site.country, save_to_file=False, log_level="critical",
                allow_multiple_runs=True,
            )  # fmt: skip
            tracker.start()
            self._tracker = tracker

    def stop(self) -> PowerCost | None:
        spare, tracker = self._spare.stop(), self._tracker
        self._tracker = None
        if tracker is not None:
            with suppress(Exception):
                return self._cost(tracker)
        return spare

    def _cost(self, tracker: Any) -> PowerCost:
        from importlib.metadata import version

        kilograms = tracker.stop()
        data = tracker.final_emissions_data
        own = self._site.gco2e_per_kwh is None
        cost = PowerCost(
            joules=data.energy_consumed * JOULES_PER_KWH,
            phase=self._phase,
            seconds=data.duration,
            gco2e=kilograms * 1000 if own else None,
            source="estimated",
            meter=f"codecarbon {version('codecarbon')} offline, whole machine, "
            f"{self._site.country}",
            uuid=str(uuid.uuid4()),
        )
        return self._site.priced(cost)


class Interval:
    """An interval of work: what it cost is known once it has ended."""

    def __init__(self) -> None:
        self._cost: PowerCost | None = None

    @property
    def cost(self) -> PowerCost:
        """Joules, seconds and a UUID. Raises LineageError while the block still runs."""
        if self._cost is None:
            raise LineageError("the interval has not ended. Read .cost after the with block.")
        return self._cost


@contextmanager
def measure(
    phase: str = "training",
    *,
    site: Site | None = None,
    watts_per_core: float = WATTS_PER_CORE,
    powercap: Path = POWERCAP,
) -> Iterator[Interval]:
    """Counts the joules of the block; afterwards `.cost` is its PowerCost, by the most trusted
    meter of this machine (see `meter`).

        with measure() as interval:
            train()
        registry.meter(child, interval.cost)

    A block that raises has used its energy too: `.cost` is there all the same. Raises InvalidValue
    for an unknown phase or watts below zero, before the block starts."""
    interval = Interval()
    chosen = meter(phase, site=site, watts_per_core=watts_per_core, powercap=powercap)
    chosen.start()
    try:
        yield interval
    finally:
        interval._cost = chosen.stop()
