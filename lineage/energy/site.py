"""Where work is done, as its owner states it: overhead, carbon and price of a kilowatt-hour.
Nothing is assumed: what was not stated stays unknown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lineage.errors import InvalidValue
from lineage.organism import PowerCost, finite

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Site:
    """`pue`: power usage effectiveness, energy of the whole facility over that of its machines
    (ISO/IEC 30134-2), at least 1. `gco2e_per_kwh`: grams of CO2 equivalent a kilowatt-hour at the
    meter of the facility. `price`: of a kilowatt-hour there, in `currency`. `country`: three
    letters of ISO 3166-1, for codecarbon."""

    pue: float | None = None
    gco2e_per_kwh: float | None = None
    price: float | None = None
    currency: str | None = None
    country: str | None = None

    def __post_init__(self) -> None:
        for key, least in (("pue", 1), ("gco2e_per_kwh", 0), ("price", 0)):
            value = getattr(self, key)
            if value is not None:
                object.__setattr__(self, key, finite(value, key, least=least))
        if self.price is not None and not self.currency:
            raise InvalidValue(f"a price of {self.price:g} a kWh needs a currency, like EUR.")
        if self.country is not None and not re.fullmatch(r"[A-Z]{3}", self.country):
            raise InvalidValue(
                f"country {self.country!r} is not three letters of ISO 3166-1, like FRA or DEU."
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Site:
        """What LINEAGE_PUE, LINEAGE_GCO2E_PER_KWH, LINEAGE_PRICE_PER_KWH (`0.31 EUR`) and
        LINEAGE_COUNTRY (`FRA`) say. Raises InvalidValue that names the variable."""
        known = os.environ if environment is None else environment
        price, _, currency = (known.get("LINEAGE_PRICE_PER_KWH") or "").strip().partition(" ")
        pue, carbon = known.get("LINEAGE_PUE"), known.get("LINEAGE_GCO2E_PER_KWH")
        return cls(
            pue=finite(pue, "LINEAGE_PUE", least=1) if pue else None,
            gco2e_per_kwh=finite(carbon, "LINEAGE_GCO2E_PER_KWH", least=0) if carbon else None,
            price=finite(price, "LINEAGE_PRICE_PER_KWH", least=0) if price else None,
            currency=currency.strip() or None,
            country=known.get("LINEAGE_COUNTRY") or None,
        )

    def priced(self, cost: PowerCost) -> PowerCost:
        """`cost` with its carbon and money, where they are not known and can be told from its
        joules. The joules stay those of the meter; the overhead of the facility (`pue`) counts in
        carbon and money alone, and the name of the meter says which settings went in."""
        if cost.joules is None:
            return cost
        kwh = cost.joules / JOULES_PER_KWH * (self.pue or 1.0)
        new: dict[str, object] = {}
        said = []
        if self.gco2e_per_kwh is not None and cost.gco2e is None:
            new["gco2e"] = kwh * self.gco2e_per_kwh
            said.append(f"{self.gco2e_per_kwh:g} gCO2e a kWh")
        if self.price is not None and cost.cost is None:
            new |= {"cost": kwh * self.price, "currency": self.currency}
            said.append(f"{self.price:g} {self.currency} a kWh")
        if not new:
            return cost
        if self.pue is not None:
            said.append(f"PUE {self.pue:g}")
        told = f"{cost.meter or 'hand'}; at {', '.join(said)}"
        return replace(cost, meter=told, **new)  # type: ignore[arg-type]
