"""Joules are counted once, by the best meter there is, and say how they are known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import missing
from hypothesis import given
from hypothesis import strategies as st

import lineage
from lineage import energy
from lineage.energy import meters, overlap
from lineage.errors import InvalidValue, LineageError


def zone(powercap: Path, name: str, label: str, microjoules: int, turn: int = 1_000_000) -> Path:
    """A RAPL zone as the kernel shows it. Returns the file of its counter."""
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "max_energy_range_uj").write_text(f"{turn}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def busy(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


# ---- RAPL


def test_packages_add_up_and_nothing_is_counted_twice(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 200)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 100)
    platform = zone(tmp_path, "intel-rapl:2", "psys", 100)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100)
    with energy.measure(powercap=tmp_path) as interval:
        first.write_text("400100\n")
        second.write_text("500200\n")
        core.write_text("399999\n")
        platform.write_text("999999\n")
    assert interval.cost.joules == pytest.approx(0.9)
    assert (interval.cost.phase, interval.cost.per) == ("training", "total")
    assert interval.cost.source == "measured"
    assert "2 CPU packages" in interval.cost.meter


def test_a_counter_that_turns_over_is_followed(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 999_000)
    with energy.measure(powercap=tmp_path) as interval:
        counter.write_text("500\n")
    assert interval.cost.joules == pytest.approx(0.0015)


@given(st.lists(st.integers(0, 999_999), min_size=1, max_size=20))
def test_steps_shorter_than_a_turn_add_up_to_the_joule(tmp_path_factory, steps):
    powercap = tmp_path_factory.mktemp("powercap")
    counter, total = zone(powercap, "intel-rapl:0", "package-0", 0), 0
    meter = energy.Rapl(powercap)
    for step in steps:
        total += step
        counter.write_text(str(total % 1_000_000))
        joules = meter.joules()
    assert joules == pytest.approx(total / 1e6)


def test_a_long_interval_is_read_on_the_way(tmp_path, monkeypatch):
    read = threading.Event()

    class Counter:
        name, source = "a counter", "measured"
        joules_read = 0.0

        def joules(self) -> float:
            self.joules_read += 1
            if self.joules_read > 2:
                read.set()
            return self.joules_read

    monkeypatch.setattr(meters, "SAMPLE_SECONDS", 0.001)
    meter = meters.Counters("training", energy.Site(), [Counter()], energy.CpuTime(), tmp_path)
    meter.start()
    assert read.wait(10)
    assert meter.stop().meter == "a counter"
    assert all(thread.name != "lineage-meter" for thread in threading.enumerate())


@pytest.mark.parametrize("missing", ["energy_uj", "max_energy_range_uj", "name"])
def test_a_counter_that_cannot_be_read_gives_an_estimate(tmp_path, missing):
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    (tmp_path / "intel-rapl:0" / missing).unlink()
    with energy.measure(powercap=tmp_path) as interval:
        pass
    assert interval.cost.source == "estimated"
    assert "4.375 W a core" in interval.cost.meter


@pytest.mark.parametrize("fault", ["gone", "no number"])
def test_a_counter_that_fails_during_the_block_stops_nothing(tmp_path, fault):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    with energy.measure(powercap=tmp_path) as interval:
        busy(0.01)
        counter.unlink() if fault == "gone" else counter.write_text("\xff?", "latin-1")
    assert interval.cost.source == "estimated"
    assert interval.cost.joules > 0


# ---- CPU time


def test_cpu_seconds_of_all_threads_times_stated_watts(tmp_path):
    started = time.process_time()
    with energy.measure("evaluation", watts_per_core=10, powercap=tmp_path) as interval:
        helper = threading.Thread(target=busy, args=(0.05,))
        helper.start()
        busy(0.05)
        helper.join()
    spent = time.process_time() - started
    assert 0.1 * 10 <= interval.cost.joules <= spent * 10
    assert interval.cost.phase == "evaluation"
    assert interval.cost.source == "estimated"
    assert interval.cost.seconds > 0
    assert interval.cost.meter.endswith("CPU seconds at 10 W a core (given)")
    assert f"lineage {lineage.__version__}" in interval.cost.meter


def test_every_interval_has_a_uuid_of_its_own(tmp_path):
    uuids = set()
    for _ in range(3):
        with energy.measure(powercap=tmp_path) as interval:
            pass
        uuids.add(interval.cost.uuid)
    assert len(uuids) == 3


def test_a_block_that_raises_has_cost_its_energy_too(tmp_path):
    with pytest.raises(KeyError), energy.measure(powercap=tmp_path) as interval:
        raise KeyError("the trainer's own")
    assert interval.cost.joules >= 0


def test_the_cost_is_not_known_before_the_end(tmp_path):
    with (
        energy.measure(powercap=tmp_path) as interval,
        pytest.raises(LineageError, match="has not ended"),
    ):
        _ = interval.cost


@pytest.mark.parametrize(
    "wrong", [{"phase": "lunch"}, {"watts_per_core": -1}, {"watts_per_core": float("nan")}]
)
def test_a_wrong_value_is_refused_before_the_block(tmp_path, wrong):
    with pytest.raises(InvalidValue), energy.measure(powercap=tmp_path, **wrong):
        pytest.fail("the block ran")


# ---- serving


def test_joules_an_operation_are_board_power_over_peak_rate():
    per = energy.JOULES_PER_OPERATION
    assert per["F32"] == pytest.approx(400 / 156e12)
    assert per["F16"] == per["BF16"] == pytest.approx(400 / 312e12)
    assert per["I8"] == pytest.approx(400 / 624e12)
    assert per["F64"] == pytest.approx(400 / 19.5e12)
    assert energy.ASSUMED_PRECISION in per


def test_seven_billion_parameters_in_16_bit():
    cost = energy.serving_estimate(parameters=7e9, precision="BF16")
    assert cost.joules == pytest.approx(0.01795, rel=1e-3)
    assert (cost.phase, cost.per, cost.source) == ("serving", "token", "estimated")
    for told in ("2 operations a parameter", "arXiv:2001.08361", "A100", "BF16", "lower bound"):
        assert told in cost.meter


def test_the_meter_says_that_f32_runs_as_tf32():
    cost = energy.serving_estimate(operations=1, precision="F32")
    assert "A100 80GB SXM at peak (F32 as TF32), a lower bound" in cost.meter


@given(st.integers(0, 10**13), st.sampled_from([*energy.JOULES_PER_OPERATION, None, "Q4_K_M"]))
def test_parameters_count_as_two_operations_each(n, precision):
    by_parameters = energy.serving_estimate(parameters=n, precision=precision)
    by_operations = energy.serving_estimate(operations=2 * n, precision=precision)
    assert by_parameters.joules == by_operations.joules


@pytest.mark.parametrize(("precision", "told"), [(None, "unknown"), ("Q4_K_M", "Q4_K_M")])
def test_16_bit_are_assumed_for_a_precision_that_is_not_known_and_it_says_so(precision, told):
    cost = energy.serving_estimate(operations=1e9, precision=precision, per="image")
    assert cost.joules == pytest.approx(1e9 * 400 / 312e12)
    assert f"assumed for {told} precision" in cost.meter
    assert "operations counted per image" in cost.meter


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"operations": 1, "parameters": 1},
        {"parameters": 1, "per": "image"},
        {"parameters": -1},
        {"operations": float("inf")},
        {"operations": 1, "per": "week"},
    ],
)
def test_what_cannot_be_estimated_is_refused(wrong):
    with pytest.raises(InvalidValue):
        energy.serving_estimate(**wrong)


# ---- training


def test_six_operations_a_parameter_and_token_at_a_stated_utilisation():
    cost = energy.training_estimate(
        parameters=7e9, tokens=2e12, device=energy.DEVICES["A100"], precision="BF16",
        utilisation=0.4,
    )  # fmt: skip
    assert cost.joules == pytest.approx(6 * 7e9 * 2e12 / (0.4 * 312e12) * 400)
    assert (cost.phase, cost.source) == ("training", "estimated")
    for told in ("6 operations", "arXiv:2001.08361", "A100", "40%", "400 W"):
        assert told in cost.meter


@pytest.mark.parametrize("wrong", [{"utilisation": 0}, {"utilisation": 2}, {"precision": "Q4_K"}])
def test_a_training_estimate_takes_no_guess(wrong):
    given = {"parameters": 1, "tokens": 1, "precision": "F16", "utilisation": 0.5} | wrong
    with pytest.raises(InvalidValue):
        energy.training_estimate(device=energy.A100, **given)


def test_hours_at_the_published_power():
    cost = energy.power_limit_estimate(seconds=3600, device=energy.DEVICES["H100"], devices=8)
    assert cost.joules == 8 * 700 * 3600
    assert cost.source == "estimated"
    assert "upper bound" in cost.meter
    assert "data sheet" in cost.meter


@pytest.mark.parametrize("device", energy.DEVICES.values(), ids=lambda one: one.name)
def test_every_profile_tells_its_source(device):
    assert device.watts > 0
    assert "data sheet" in device.source
    assert min(device.peak.values()) > 1e12


# ---- meters


def test_a_meter_measures_one_interval_after_the_other(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = energy.meter(powercap=tmp_path, folder=tmp_path / "meters", site=energy.Site())
    assert meter.stop() is None
    costs = []
    for microjoules in (100_000, 350_000):
        meter.start()
        counter.write_text(f"{microjoules}\n")
        costs.append(meter.stop())
        assert meter.stop() is None
    assert [cost.joules for cost in costs] == pytest.approx([0.1, 0.25])
    assert len({cost.uuid for cost in costs}) == 2
    assert {(cost.phase, cost.source, cost.per) for cost in costs} == {
        ("training", "measured", "total")
    }


def test_nothing_is_assumed_of_the_place(tmp_path):
    with energy.measure(site=energy.Site(), powercap=tmp_path) as interval:
        busy(0.01)
    assert (interval.cost.gco2e, interval.cost.cost, interval.cost.currency) == (None, None, None)


def test_carbon_and_money_come_from_what_the_owner_states(tmp_path, monkeypatch):
    monkeypatch.setenv("LINEAGE_PUE", "1.5")
    monkeypatch.setenv("LINEAGE_GCO2E_PER_KWH", "50")
    monkeypatch.setenv("LINEAGE_PRICE_PER_KWH", "0.2 EUR")
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0, turn=10**15)
    with energy.measure(powercap=tmp_path) as interval:
        counter.write_text(str(36 * 10**11))  # a kilowatt-hour
    cost = interval.cost
    assert cost.joules == pytest.approx(3.6e6)  # as the meter shows it
    assert cost.gco2e == pytest.approx(75)
    assert (cost.cost, cost.currency) == (pytest.approx(0.3), "EUR")
    for told in ("RAPL", "PUE 1.5", "50 gCO2e a kWh", "0.2 EUR a kWh"):
        assert told in cost.meter


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LINEAGE_PUE", "0.9"),
        ("LINEAGE_PUE", "much"),
        ("LINEAGE_GCO2E_PER_KWH", "nan"),
        ("LINEAGE_PRICE_PER_KWH", "0.2"),
        ("LINEAGE_COUNTRY", "France"),
    ],
)
def test_a_wrong_setting_is_said_before_the_work(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidValue):
        energy.meter()


# ---- overlap


def test_runs_that_overlap_say_so(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    one, other = (
        energy.meter(powercap=tmp_path, folder=tmp_path / "meters", site=energy.Site())
        for _ in range(2)
    )
    one.start()
    assert "overlapping" not in one.stop().meter
    one.start()
    other.start()
    first = other.stop()
    second = one.stop()  # the other one has ended meanwhile
    one.start()
    after = one.stop()
    assert "overlapping other runs on this machine" in first.meter
    assert "overlapping other runs on this machine" in second.meter
    assert "overlapping" not in after.meter


def test_another_process_is_seen_and_a_killed_one_is_not(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom lineage.energy.overlap import Entry\n"
        "entry = Entry(Path(sys.argv[1]))\nprint('runs', flush=True)\ntime.sleep(60)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "meters")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "runs\n"
        assert overlap.Entry(tmp_path / "meters").end()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert not overlap.Entry(tmp_path / "meters").end()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"1 \xff", b"\0" * 200, b"1 2 3"])
def test_an_entry_that_is_broken_stops_nobody(tmp_path, content):
    entry = overlap.Entry(tmp_path / "meters")
    (tmp_path / "meters" / "broken").write_bytes(content)
    (tmp_path / "meters" / "folder").mkdir()
    assert not entry.end()


def test_where_no_entry_can_be_made_nobody_is_seen(tmp_path):
    (tmp_path / "meters").write_text("in the way")
    assert not overlap.Entry(tmp_path / "meters").end()
    (tmp_path / "link").symlink_to(tmp_path)
    assert not overlap.Entry(tmp_path / "link").end()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "meters"]


# ---- NVML. No GPU here: a library of our own answers the calls, which proves the bookkeeping and
# the types of the calls, and not NVIDIA's library.

NVML = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int boards[2] = {1, 2};
int nvmlInit_v2(void) { return getenv("NVML_FAILS") ? 9 : 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  *handle = &boards[index]; return 0; }
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned size) {
  snprintf(uuid, size, "GPU-%d", *(int *)handle); return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned size) {
  strncpy(version, "550.1", size); return 0; }
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *millijoules) {
  char name[4096]; snprintf(name, sizeof name, "%s/%d", getenv("NVML_COUNTERS"), *(int *)handle);
  FILE *file = fopen(name, "r"); if (!file) return 3;
  int read = fscanf(file, "%llu", millijoules); fclose(file); return read == 1 ? 0 : 999; }
"""


@pytest.fixture(scope="module")
def nvml_library(tmp_path_factory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        missing("no C compiler for a library that answers like NVML.")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(NVML)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, folder / "nvml.c"], check=True
    )
    return str(library)


def in_a_process(script: str, **environment: str) -> str:
    """What a process of its own prints: a library keeps the environment it was loaded in."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


READ_TWICE = """
import os, pathlib
from lineage.energy import Nvml
from lineage.errors import LineageError
try:
    nvml = Nvml(os.environ["NVML"])
    first = nvml.joules()
    for board, more in (("1", 1500), ("2", 500)):
        counter = pathlib.Path(os.environ["NVML_COUNTERS"], board)
        counter.write_text(str(int(counter.read_text()) + int(os.environ.get("SIGN", 1)) * more))
    print(first, nvml.joules(), nvml.name, nvml.source)
except LineageError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, "0.0 2.0 NVML (driver 550.1), 2 GPUs, whole board measured"),
        ("1", "0.0 0.5 NVML (driver 550.1), 1 GPU, whole board measured"),
        ("GPU-1", "0.0 1.5 NVML (driver 550.1), 1 GPU, whole board measured"),
        ("1,7,0", "0.0 0.5 NVML (driver 550.1), 1 GPU, whole board measured"),
        ("", "refused: no NVIDIA GPU is visible to this process."),
    ],
)
def test_the_boards_that_a_process_may_use_add_up(nvml_library, tmp_path, visible, expected):
    for board in ("1", "2"):
        (tmp_path / board).write_text("90000000000")
    given = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    said = in_a_process(READ_TWICE, NVML=nvml_library, NVML_COUNTERS=str(tmp_path), **given)
    assert said == expected


def test_a_counter_that_goes_backwards_or_is_missing_is_refused(nvml_library, tmp_path):
    for board in ("1", "2"):
        (tmp_path / board).write_text("5000")
    known = {"NVML": nvml_library, "NVML_COUNTERS": str(tmp_path)}
    assert "went backwards" in in_a_process(READ_TWICE, SIGN="-1", **known)
    assert "error 9" in in_a_process(READ_TWICE, NVML_FAILS="1", **known)
    (tmp_path / "2").unlink()
    assert "error 3" in in_a_process(READ_TWICE, **known)
    assert "cannot be loaded" in in_a_process(READ_TWICE, NVML="libnothing.so.1")


# ---- codecarbon


COLUMNS = "timestamp,project_name,run_id,duration,emissions,energy_consumed,country_iso_code," \
    "codecarbon_version"
RUN = "2026-11-01T12:00:00,codecarbon,7c9e6679-7425-40de-944b-e07fc1f90ae7"


def test_a_file_of_emissions_gives_each_run_once(tmp_path):
    file = tmp_path / "emissions.csv"
    file.write_text(f"{COLUMNS}\n{RUN},10,0.01,0.1,FRA,3.0.1\n{RUN},20,0.02,0.2,FRA,3.0.1\n")
    (cost,) = energy.codecarbon_costs(file, "training")
    assert cost.joules == pytest.approx(0.2 * 3.6e6)
    assert cost.gco2e == pytest.approx(20)
    assert (cost.seconds, cost.source) == (20, "estimated")
    assert cost.meter == "codecarbon 3.0.1, FRA"
    assert cost.uuid == "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    assert energy.codecarbon_costs(file, "training") == [cost]


@pytest.mark.parametrize(
    "content",
    ["", "a,b\n1,2\n", f"{COLUMNS}\n", f"{COLUMNS}\n{RUN},10,nan,0.1,FRA,3\n",
     f"{COLUMNS}\n{RUN},10,,0.1,FRA,3\n", f"{COLUMNS}\n{RUN}\n",
     f"{COLUMNS}\n{'x' * 200_000}\n"],
)  # fmt: skip
def test_what_is_no_file_of_emissions_is_said(tmp_path, content):
    file = tmp_path / "emissions.csv"
    file.write_text(content)
    with pytest.raises(LineageError, match=r"emissions\.csv"):
        energy.codecarbon_costs(file)


PRETENDED = """
import sys, types
tracker = types.ModuleType("codecarbon")
class OfflineEmissionsTracker:
    def __init__(self, **given):
        assert given["country_iso_code"] == "FRA", given
        assert given["save_to_file"] is False, given
    def start(self): ...
    def stop(self):
        if "fails" in sys.argv: raise RuntimeError("no")
        self.final_emissions_data = types.SimpleNamespace(energy_consumed=0.5, duration=7.0)
        return 0.025
tracker.OfflineEmissionsTracker = OfflineEmissionsTracker
"""


def test_codecarbon_is_asked_offline_with_the_country_that_was_given(tmp_path):
    # A module in its place: it proves what is asked of it, not what it would say.
    (tmp_path / "codecarbon.py").write_text(
        PRETENDED.replace('tracker = types.ModuleType("codecarbon")\n', "")
        .replace("tracker.OfflineEmissionsTracker = OfflineEmissionsTracker\n", "")
    )
    meta = tmp_path / "codecarbon-9.9.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: codecarbon\nVersion: 9.9\n")
    script = (
        "import json, sys\nfrom pathlib import Path\nfrom lineage import energy\n"
        "meter = energy.meter(powercap=Path('/nowhere'))\nmeter.start()\ncost = meter.stop()\n"
        "print(json.dumps([cost.joules, cost.gco2e, cost.source, cost.meter]))"
    )
    given = {"PYTHONPATH": str(tmp_path)}
    joules, gco2e, source, name = json.loads(in_a_process(script, LINEAGE_COUNTRY="FRA", **given))
    assert (joules, gco2e, source) == (pytest.approx(1.8e6), pytest.approx(25), "estimated")
    assert name == "codecarbon 9.9 offline, whole machine, FRA"
    failing = script.replace("import json, sys\n", "import json, sys\nsys.argv.append('fails')\n")
    assert "CPU seconds" in in_a_process(failing, LINEAGE_COUNTRY="FRA", **given)
    assert "CPU seconds" in in_a_process(script, **given)  # no country: it is not asked


def test_the_command_reads_a_file_of_emissions_once(tmp_path):
    from click.testing import CliRunner

    from lineage.cli import main

    file = tmp_path / "emissions.csv"
    file.write_text(f"{COLUMNS}\n{RUN},10,0.01,0.1,FRA,3.0.1\n")
    with lineage.open("registry.db") as registry:
        registry.register(name="sft")

    def meter(*given: str) -> str:
        return CliRunner().invoke(main, ["--db", "registry.db", "meter", "sft", *given]).output

    told = "training of sft: 1 run in emissions.csv, 360 kJ (0.1 kWh) in all; {} of them new\n"
    assert meter("--from", "emissions.csv") == told.format(1)
    assert meter("--from", "emissions.csv") == told.format("none")
    assert "--kwh" in meter("--from", "emissions.csv", "--kwh", "1")
    with lineage.open("registry.db") as registry:
        (cost,) = registry.record("sft").power
        events = [event.kind for event in registry.history("sft")]
    assert (cost.gco2e, cost.meter) == (pytest.approx(10), "codecarbon 3.0.1, FRA")
    assert events == ["registered", "metered"]


def test_the_command_reads_the_carbon_of_a_card_once(tmp_path):
    from click.testing import CliRunner

    from lineage.cli import main

    (tmp_path / "README.md").write_text("---\nco2_eq_emissions: {emissions: 12, source: x}\n---\n")
    (tmp_path / "plain.md").write_text("# no front matter\n")
    with lineage.open("registry.db") as registry:
        registry.register(name="sft")

    def meter(*given: str) -> str:
        return CliRunner().invoke(main, ["--db", "registry.db", "meter", "sft", *given]).output

    assert "1 of them new" in meter("--from", "README.md")
    assert "none of them new" in meter("--from", "README.md")
    assert "no co2_eq_emissions" in meter("--from", "plain.md")
    with lineage.open("registry.db") as registry:
        (cost,) = registry.record("sft").power
    assert (cost.gco2e, cost.source) == (12, "declared")
