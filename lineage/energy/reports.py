"""Energy that others measured: codecarbon's file of emissions, as power costs."""

from __future__ import annotations

import csv
import os
import uuid

from lineage.energy.site import JOULES_PER_KWH
from lineage.errors import InvalidValue, LineageError
from lineage.organism import PowerCost, finite

MOST_RUNS = 100_000
"""Lines of a file of emissions that are read."""

RUNS = uuid.UUID("0d1f2f2f-45a7-53a8-8f0c-6a9a1b0f7c11")
"""The namespace of UUIDs made from runs that have none of their own."""


def codecarbon_costs(path: str | os.PathLike[str], phase: str = "training") -> list[PowerCost]:
    """The runs in an `emissions.csv` of codecarbon (its documentation, Output): `energy_consumed`
    in kWh, `emissions` in kg of CO2 equivalent, `duration` in seconds. One a `run_id`, of which a
    later line replaces an earlier one, since codecarbon writes running totals. `measured` is never
    claimed: the file does not say whether a counter was read.

    Raises LineageError, naming the line, for what is no such file."""
    runs: dict[str, PowerCost] = {}
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        if not {"emissions", "energy_consumed"} <= set(reader.fieldnames or ()):
            raise LineageError(
                f"{os.fspath(path)} is no emissions.csv of codecarbon: it has no columns "
                "`emissions` and `energy_consumed`."
            )
        try:
            for row in reader:
                if len(runs) >= MOST_RUNS:
                    raise LineageError(f"it holds more than {MOST_RUNS:,} runs. Split it.")
                run = row.get("run_id") or f"line {reader.line_num}"
                runs[run] = _cost(row, run, phase)
        except (InvalidValue, csv.Error) as error:
            raise LineageError(f"{os.fspath(path)}, line {reader.line_num}: {error}") from None
    if not runs:
        raise LineageError(f"{os.fspath(path)} holds no run.")
    return list(runs.values())


def _cost(row: dict[str, str], run: str, phase: str) -> PowerCost:
    said = f"codecarbon {row.get('codecarbon_version') or 'of unknown version'}"
    where = row.get("country_iso_code") or row.get("country_name")
    try:
        own = uuid.UUID(run)
    except ValueError:
        own = uuid.uuid5(RUNS, f"{run} {row.get('timestamp')} {row.get('energy_consumed')}")
    duration = row.get("duration")
    return PowerCost(
        joules=finite(row["energy_consumed"], "energy_consumed", least=0) * JOULES_PER_KWH,
        phase=phase,
        seconds=finite(duration, "duration", least=0) if duration else None,
        gco2e=finite(row["emissions"], "emissions", least=0) * 1000,
        source="estimated",
        meter=f"{said}, {where}" if where else said,
        uuid=str(own),
        at=row.get("timestamp") or None,  # type: ignore[arg-type]
    )
