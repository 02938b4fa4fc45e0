"""What work costs in joules: an interval of training measured where the machine lets us, and the
cost of serving estimated from counted operations.

Every figure is a PowerCost that says how it is known (`measured` or `estimated`) and by which
meter, with the sources of the constants that went into it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from lineage.errors import InvalidValue, LineageError
from lineage.organism import PHASES, PowerCost, finite, one_of

OPERATIONS_PER_PARAMETER = 2.0
"""Operations a parameter and token of a forward pass: one multiplication and one addition (Kaplan
et al. 2020, arXiv:2001.08361, section 2.1). What attention adds with the length of the context is
left out."""


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A device as its data sheet has it: board power in watts, and the dense peak rate in
    operations a second by precision of the weights (safetensors spelling)."""

    name: str
    watts: float
    peak: Mapping[str, float]
    source: str

    def joules_per_operation(self) -> dict[str, float]:
        """Joules an operation by precision, at full power and peak rate. No workload reaches the
        peak, so each is a lower bound."""
        return {precision: self.watts / rate for precision, rate in self.peak.items()}


A100 = DeviceProfile(
    name="NVIDIA A100 80GB SXM",
    watts=400.0,
    peak=MappingProxyType(
        {
            "F64": 19.5e12,  # FP64 tensor cores
            # F32 weights run as TF32: the fastest the device does them, so that the figure stays
            # a lower bound. Plain FP32 is 19.5e12, eight times dearer.
            "F32": 156e12,
            "BF16": 312e12,
            "F16": 312e12,
            # The device has no 8-bit floating point: such weights are widened to 16 bits.
            "F8_E4M3": 312e12,
            "F8_E5M2": 312e12,
            "I8": 624e12,
            "U8": 624e12,
        }
    ),
    source="NVIDIA A100 80GB SXM data sheet: 400 W, dense peak rates without sparsity",
)

JOULES_PER_OPERATION: Mapping[str, float] = MappingProxyType(A100.joules_per_operation())
"""Joules an operation on the A100 by precision of the weights: a lower bound."""

ASSUMED_PRECISION = "BF16"
"""What weights of unknown precision count as: 16 bit."""

WATTS_PER_CORE = 280.0 / 64
"""Watts a busy CPU core where no counter can be read: 4.375 (AMD EPYC 7763 data sheet: default
TDP 280 W, 64 cores)."""

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the RAPL energy counters (kernel documentation, power/powercap)."""

SAMPLE_SECONDS = 60.0
"""How often a running interval reads its counter. A RAPL counter turns over after some 262 kJ: one
turn between two readings can be seen, two cannot, and a package would need 4 kW for two."""


def serving_estimate(
    *,
    operations: float | None = None,
    parameters: float | None = None,
    precision: str | None = None,
    per: str = "token",
) -> PowerCost:
    """Joules of serving, estimated from `operations` (per what `per` says), or from `parameters`
    at 2 operations a parameter and token.

    `precision` is the safetensors spelling of the weights' type (`F32`, `BF16`, `I8`, ...); where
    it is None or not in JOULES_PER_OPERATION, 16 bit is assumed and the meter says so. A lower
    bound: the device at its peak rate. Raises InvalidValue unless exactly one of `operations` and
    `parameters` is given, and for parameters where `per` is neither token nor character."""
    if (operations is None) == (parameters is None):
        raise InvalidValue("a serving estimate needs either operations or parameters, one of them.")
    if operations is not None:
        count, rule = finite(operations, "operations", least=0), f"operations counted per {per}"
    elif per in ("token", "character"):
        count = OPERATIONS_PER_PARAMETER * finite(parameters, "parameters", least=0)
        rule = f"2 operations a parameter and {per} (Kaplan et al. 2020, arXiv:2001.08361)"
    else:
        raise InvalidValue(
            f"parameters tell what a token costs, not what one {per} does. "
            f"Count the operations per {per}, and give operations=."
        )
    used, told = precision or "", precision
    if used not in JOULES_PER_OPERATION:
        used, told = (
            ASSUMED_PRECISION,
            f"{ASSUMED_PRECISION} assumed for {told or 'unknown'} precision",
        )
    elif used == "F32":
        told = "F32 as TF32"
    return PowerCost(
        joules=count * JOULES_PER_OPERATION[used],
        phase="serving",
        per=per,
        source="estimated",
        meter=f"{rule}; {A100.name} at peak ({told}), a lower bound",
    )


_UNREADABLE = (LineageError, OSError, ValueError, ArithmeticError)
"""How a counter fails: none there, not for this user, gone, no number, a range of nothing."""


class Meter(Protocol):
    """Something that counts joules."""

    name: str
    source: str
    """`measured` or `estimated`."""

    def joules(self) -> float:
        """Joules since the meter was made."""
        ...


class Rapl:
    """The RAPL counters of every CPU package: the whole machine's work, not this process's alone,
    and neither GPU nor memory. Raises LineageError where there are none to be read (no Linux, a
    virtual machine, or energy_uj for root only)."""

    source = "measured"

    def __init__(self, powercap: Path = POWERCAP) -> None:
        # Packages only: intel-rapl:0:1 is a part of intel-rapl:0 or memory, and `psys`, at the top
        # level too, is the whole platform and would count the packages again.
        zones = [
            zone
            for zone in sorted(powercap.glob("intel-rapl:*"))
            if zone.name.count(":") == 1 and _first_line(zone / "name").startswith("package")
        ]
        if not zones:
            raise LineageError(f"no RAPL package can be read in {powercap}.")
        self.name = f"RAPL, {len(zones)} CPU package{'s' * (len(zones) > 1)}, whole machine"
        self._last = {zone: self._read(zone) for zone in zones}
        self._range = {zone: int(_first_line(zone / "max_energy_range_uj")) for zone in zones}
        self._microjoules = 0

    @staticmethod
    def _read(zone: Path) -> int:
        return int(_first_line(zone / "energy_uj"))

    def joules(self) -> float:
        for zone, last in self._last.items():
            now = self._read(zone)
            self._microjoules += (now - last) % self._range[zone]  # it may have turned over
            self._last[zone] = now
        return self._microjoules / 1e6


class CpuTime:
    """CPU seconds of this process with all its threads (its child processes left out), times
    `watts_per_core`."""

    source = "estimated"

    def __init__(self, watts_per_core: float = WATTS_PER_CORE) -> None:
        self._watts = finite(watts_per_core, "watts_per_core", least=0)
        told = "AMD EPYC 7763: 280 W / 64 cores" if watts_per_core == WATTS_PER_CORE else "given"
        self.name = f"CPU seconds at {self._watts:g} W a core ({told})"
        self._start = time.process_time()

    def joules(self) -> float:
        return (time.process_time() - self._start) * self._watts


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
    watts_per_core: float = WATTS_PER_CORE,
    powercap: Path = POWERCAP,
) -> Iterator[Interval]:
    """Counts the joules of the block; afterwards `.cost` is a PowerCost of `phase` with joules,
    seconds and a UUID of its own, so that it adds up once wherever it is sent.

        with measure() as interval:
            train()
        registry.meter(child, interval.cost)

    Measured by RAPL where its counters can be read, else this process's CPU seconds times
    `watts_per_core`, labelled estimated. A block that raises has used its energy too: `.cost` is
    there all the same. Raises InvalidValue for an unknown phase or watts below zero, before the
    block starts."""
    one_of(phase, PHASES, "phase")  # now, and not after hours of training
    interval, start = Interval(), time.perf_counter()
    meters = _meters(watts_per_core, powercap)
    try:
        with _sampled(meters[0]):
            yield interval
    finally:
        meter, joules = _most_trusted(meters)
        interval._cost = PowerCost(
            joules=joules,
            phase=phase,
            seconds=time.perf_counter() - start,
            source=meter.source,
            meter=meter.name,
            uuid=str(uuid.uuid4()),
        )


def _meters(watts_per_core: float, powercap: Path) -> list[Meter]:
    """The meters that this machine has, the most trusted first."""
    with suppress(*_UNREADABLE):
        return [Rapl(powercap), CpuTime(watts_per_core)]
    return [CpuTime(watts_per_core)]


def _most_trusted(meters: list[Meter]) -> tuple[Meter, float]:
    """The first meter that can still be read, and its joules: a counter that went away during the
    block must not stop a training run. CpuTime, the last, always can."""
    for meter in meters[:-1]:
        with suppress(*_UNREADABLE):
            return meter, meter.joules()
    return meters[-1], meters[-1].joules()


@contextmanager
def _sampled(meter: Meter) -> Iterator[None]:
    """Reads `meter` every SAMPLE_SECONDS from a thread, so that no turn of a counter goes by
    unseen in a long block."""
    ended = threading.Event()

    def watch() -> None:
        with suppress(*_UNREADABLE):
            while not ended.wait(SAMPLE_SECONDS):
                meter.joules()

    watcher = threading.Thread(target=watch, name="lineage-meter", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _first_line(path: Path) -> str:
    return path.read_text("ascii").strip()
