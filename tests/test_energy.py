"""Joules are counted once, by the best meter there is, and say how they are known."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage import energy
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


def test_a_long_block_is_read_on_the_way(monkeypatch):
    read = threading.Event()

    class Counter:
        name, source = "a counter", "measured"

        def joules(self) -> float:
            read.set()
            return 1.0

    monkeypatch.setattr(energy, "SAMPLE_SECONDS", 0.001)
    with energy._sampled(Counter()):
        assert read.wait(10)
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
    assert interval.cost.meter == "CPU seconds at 10 W a core (given)"


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
