"""What counts joules on this machine: the energy counters of NVIDIA's boards and of CPU packages,
and, where neither can be read, the seconds of its cores."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any, Protocol

from lineage.errors import LineageError
from lineage.organism import finite

WATTS_PER_CORE = 280.0 / 64
"""Watts a busy CPU core where no counter can be read: 4.375 (AMD EPYC 7763 data sheet: default
TDP 280 W, 64 cores)."""

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the RAPL energy counters (kernel documentation, power/powercap)."""

UNREADABLE = (LineageError, OSError, ValueError, ArithmeticError, AttributeError)
"""How a counter fails: none there, not for this user, gone, no number, a range of nothing, a
library without the call."""


class Counter(Protocol):
    """Something that counts joules."""

    name: str
    """What it counts, with its version."""
    source: str
    """`measured` or `estimated`."""

    def joules(self) -> float:
        """Joules since the counter was made. Raises one of UNREADABLE."""
        ...


class Nvml:
    """The energy counters of the NVIDIA boards that this process may use (those that
    CUDA_VISIBLE_DEVICES names, by number in the order of the PCI bus or by UUID): the whole boards,
    whoever works on them. `nvmlDeviceGetTotalEnergyConsumption` of the NVML reference: millijoules
    since the driver was loaded, Volta and later. Raises LineageError where there are none."""

    source = "measured"

    def __init__(self, library: str = "libnvidia-ml.so.1") -> None:
        import ctypes

        try:
            self._nvml: Any = ctypes.CDLL(library)
        except OSError:
            raise LineageError(f"{library} cannot be loaded: no NVIDIA driver.") from None
        self._check(self._nvml.nvmlInit_v2())
        count = ctypes.c_uint()
        self._check(self._nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
        boards = [self._board(index) for index in range(count.value)]
        self._handles = _visible(boards, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if not self._handles:
            raise LineageError("no NVIDIA GPU is visible to this process.")
        version = ctypes.create_string_buffer(80)
        self._check(self._nvml.nvmlSystemGetDriverVersion(version, len(version)))
        gpus = f"{len(self._handles)} GPU{'s' * (len(self._handles) > 1)}"
        self.name = f"NVML (driver {version.value.decode('ascii', 'replace')}), {gpus}, whole board"
        self._last = self._millijoules()
        self._first = list(self._last)

    def _check(self, code: int) -> None:
        if code:
            raise LineageError(f"NVML says error {code}.")

    def _board(self, index: int) -> tuple[str, Any]:
        """The UUID and the handle of a board."""
        import ctypes

        handle, uuid = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        self._check(self._nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)))
        self._check(self._nvml.nvmlDeviceGetUUID(handle, uuid, len(uuid)))
        return uuid.value.decode("ascii", "replace"), handle

    def _millijoules(self) -> list[int]:
        import ctypes

        found = []
        for handle in self._handles:
            value = ctypes.c_ulonglong()
            self._check(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)))
            found.append(value.value)
        return found

    def joules(self) -> float:
        now = self._millijoules()
        if any(new < last for new, last in zip(now, self._last, strict=True)):
            raise LineageError("an NVML counter went backwards: the driver was loaded again.")
        self._last = now
        return (sum(now) - sum(self._first)) / 1000


def _visible(boards: list[tuple[str, Any]], named: str | None) -> list[Any]:
    """The boards that CUDA_VISIBLE_DEVICES (`named`) lets a process use. As in CUDA, the first name
    that fits none ends the list."""
    if named is None:
        return [handle for _, handle in boards]
    found = []
    for one in map(str.strip, named.split(",")):
        fitting = [
            handle
            for index, (uuid, handle) in enumerate(boards)
            if one == str(index) or (one.startswith("GPU-") and uuid.startswith(one))
        ]
        if not fitting:
            break
        found.append(fitting[0])
    return found


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
        packages = f"{len(zones)} CPU package{'s' * (len(zones) > 1)}"
        self.name = f"RAPL (Linux {platform.release()}), {packages}, whole machine"
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
        from lineage import __version__

        self._watts = finite(watts_per_core, "watts_per_core", least=0)
        told = "AMD EPYC 7763: 280 W / 64 cores" if watts_per_core == WATTS_PER_CORE else "given"
        self.name = f"lineage {__version__}, CPU seconds at {self._watts:g} W a core ({told})"
        self._start = time.process_time()

    def joules(self) -> float:
        return (time.process_time() - self._start) * self._watts


def _first_line(path: Path) -> str:
    return path.read_text("ascii").strip()
