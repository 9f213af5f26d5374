"""What an hour of a machine costs, from the registry's editable table. Knows no measurement."""

from dataclasses import dataclass
from typing import Any

from adaptx.registry import Model, configs_folder, parse, read_yaml

FILE = "prices.yaml"


class Price(Model):
    """An hour of the first machine whose GPU or processor name holds `name`, in US dollars.

    `per`: the whole device, or each core of the process's share of the machine.
    """

    name: str
    usd_per_hour: float
    per: str = "device"
    note: str = ""


class PriceTable(Model):
    """Prices in the order in which they are tried."""

    prices: tuple[Price, ...]


@dataclass(frozen=True)
class Prices:
    """The table, ready to be asked."""

    table: tuple[Price, ...]

    def of(self, hardware: dict[str, Any]) -> Price | None:
        """The price of a machine; None where the table has none."""
        name = str(hardware.get("gpu") or hardware.get("cpu", "")).lower()
        kind = "device" if hardware.get("gpu") else "core"
        return next((p for p in self.table if p.per == kind and p.name.lower() in name), None)

    def per_hour(self, hardware: dict[str, Any]) -> float | None:
        """US dollars an hour; None where the table has no such machine."""
        price = self.of(hardware)
        if price is None:
            return None
        return price.usd_per_hour * (int(hardware["cores"]) if price.per == "core" else 1)


def load(overlay: Any = None) -> Prices:
    """The shipped table, or the one in a user's registry folder. Raises AX010."""
    places = [p for p in (overlay, configs_folder()) if p is not None and (p / FILE).is_file()]
    return Prices(parse(PriceTable, read_yaml(places[0] / FILE), FILE).prices)
