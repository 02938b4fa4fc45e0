"""Energy that was counted and not measured: operations at a device's peak, and time at its power
limit. Every constant has its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lineage.errors import InvalidValue
from lineage.organism import PowerCost, finite

TRAINING_OPERATIONS = 6.0
"""Operations a parameter and token of training: 2 forward, 4 backward (Kaplan et al. 2020,
arXiv:2001.08361, section 2.1). Recomputed activations and attention over the context left out."""

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


def _peak(
    half: float, *, f64: float = 0, f32: float = 0, bf16: bool = True, f8: float = 0, i8: float = 0
) -> Mapping[str, float]:
    """Peak rates by precision; what a device does not do is left out."""
    rates = {"F64": f64, "F32": f32, "BF16": half if bf16 else 0, "F16": half,
             "F8_E4M3": f8, "F8_E5M2": f8, "I8": i8, "U8": i8}  # fmt: skip
    return MappingProxyType({precision: rate for precision, rate in rates.items() if rate})


# F32 weights run as TF32 where the device can: the fastest it does them, so that the figure stays a
# lower bound (plain FP32 of an A100 is 19.5e12, eight times dearer).

A100 = DeviceProfile(
    name="NVIDIA A100 80GB SXM",
    watts=400.0,
    # F64 on tensor cores. It has no 8-bit floating point: such weights are widened to 16 bits.
    peak=_peak(312e12, f64=19.5e12, f32=156e12, f8=312e12, i8=624e12),
    source="NVIDIA A100 80GB SXM data sheet: 400 W, dense peak rates without sparsity",
)

H100 = DeviceProfile(
    name="NVIDIA H100 SXM",
    watts=700.0,
    peak=_peak(989.5e12, f64=67e12, f32=494.5e12, f8=1979e12, i8=1979e12),
    source="NVIDIA H100 data sheet, SXM5: 700 W; rates with sparsity, halved",
)

V100 = DeviceProfile(
    name="NVIDIA V100 SXM2",
    watts=300.0,
    peak=_peak(125e12, f64=7.8e12, f32=15.7e12, bf16=False),
    source="NVIDIA V100 data sheet, SXM2: 300 W, 7.8, 15.7 and 125 TFLOPS",
)

L4 = DeviceProfile(
    name="NVIDIA L4",
    watts=72.0,
    peak=_peak(121e12, f32=60e12, f8=242.5e12, i8=242.5e12),
    source="NVIDIA L4 data sheet: 72 W; rates with sparsity, halved",
)

T4 = DeviceProfile(
    name="NVIDIA T4",
    watts=70.0,
    peak=_peak(65e12, f32=8.1e12, bf16=False, i8=130e12),
    source="NVIDIA T4 data sheet: 70 W, 8.1, 65 and 130 tera-operations a second",
)

DEVICES: Mapping[str, DeviceProfile] = MappingProxyType(
    {"A100": A100, "H100": H100, "V100": V100, "L4": L4, "T4": T4}
)
"""Profiles by the name that people use."""

JOULES_PER_OPERATION: Mapping[str, float] = MappingProxyType(A100.joules_per_operation())
"""Joules an operation on the A100 by precision of the weights: a lower bound."""

ASSUMED_PRECISION = "BF16"
"""What weights of unknown precision count as: 16 bit."""


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


def training_estimate(
    *,
    parameters: float,
    tokens: float,
    device: DeviceProfile,
    precision: str,
    utilisation: float,
) -> PowerCost:
    """Joules of training, estimated from 6 operations a parameter and token on devices that draw
    their full board power and reach `utilisation` (above 0, at most 1) of their peak rate in
    `precision` (safetensors spelling). Hosts, network and cooling are left out.

    Raises InvalidValue for a precision that the device has no rate for, and for what is out of
    range."""
    rate = device.peak.get(precision)
    if rate is None:
        raise InvalidValue(
            f"{device.name} has no rate for {precision!r}. It has: {', '.join(device.peak)}."
        )
    used = finite(utilisation, "utilisation", least=0)
    if not 0 < used <= 1:
        raise InvalidValue(f"utilisation is {used:g}; it lies above 0 and is at most 1.")
    operations = (
        TRAINING_OPERATIONS
        * finite(parameters, "parameters", least=0)
        * finite(tokens, "tokens", least=0)
    )
    return PowerCost(
        joules=operations / (rate * used) * device.watts,
        phase="training",
        source="estimated",
        meter="6 operations a parameter and token (Kaplan et al. 2020, arXiv:2001.08361); "
        f"{device.name} at {used:.0%} of its peak ({precision}) and {device.watts:g} W",
    )


def power_limit_estimate(
    *, seconds: float, device: DeviceProfile, devices: int = 1, phase: str = "training"
) -> PowerCost:
    """Joules of `seconds` on so many devices at their published board power: an upper bound for the
    boards, with hosts, network and cooling left out."""
    if devices < 1:
        raise InvalidValue(f"devices is {devices}; at least one did the work.")
    watts = device.watts * devices
    return PowerCost(
        joules=watts * finite(seconds, "seconds", least=0),
        phase=phase,
        watts=watts,
        seconds=seconds,
        source="estimated",
        meter=f"{devices} {device.name} at the published {device.watts:g} W, an upper bound "
        f"({device.source})",
    )
