"""Quirks of chargers by make.

A new quirk is a row of `QUIRKS` and a test. A charger's entry in CHARGERS_FILE takes precedence over the table, field
by field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from charger_service.ports import ChargerModel, LimitPurpose, Quirks, RateUnit

FROM_FILE = "CHARGERS_FILE"


@dataclass(frozen=True, slots=True)
class QuirkRow:
    """Quirks of one make."""

    vendor: str
    """As its BootNotification has it, with `*` for any text; compared without case and outer spaces."""
    model: str
    """The same for the model."""
    quirks: Quirks
    reason: str
    """Behaviour of such a charger."""
    source: str
    """The public report, or the paragraph of the specification."""

    def is_of(self, make: ChargerModel) -> bool:
        """Return whether a charger is of this make."""
        return _is_like(make.vendor, self.vendor) and _is_like(make.model, self.model)


@dataclass(frozen=True, slots=True)
class KnownQuirk:
    """One quirk of one charger."""

    name: str
    value: Any
    source: str
    """That of its row, or CHARGERS_FILE."""

    @property
    def value_text(self) -> str:
        """The value as in JSON, without quotes; settings as key=value."""
        if self.name == "remote_start_configuration":
            settings: Mapping[str, str] = self.value
            return ", ".join(f"{key}={value}" for key, value in settings.items())
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)


QUIRKS = (
    QuirkRow(
        "ABB",
        "CDT_TAC*",
        Quirks(stack_level=0),
        "Terra AC: says 3 levels and rejects what is above 0",
        "https://github.com/evcc-io/evcc/issues/15493",
    ),
    QuirkRow(
        "ABB",
        "CDT_TAC*",
        Quirks(autostart=True),
        "Terra AC without free vending: begins by RemoteStartTransaction only",
        "https://github.com/evcc-io/evcc/pull/31444",
    ),
    QuirkRow(
        "",
        "ACChargePoint",
        Quirks(rate_unit=RateUnit.WATTS),
        "Huawei SCharger (names no vendor): takes watts only",
        "https://github.com/lbbrhzn/ocpp/issues/1635",
    ),
    QuirkRow(
        "Phoenix Contact*",
        "EV-CC-*",
        Quirks(remote_start_configuration={"AuthorizeRemoteTxRequests": "false", "FreeMode": "true"}),
        "CHARX SEC-3xxx as delivered: rejects every RemoteStartTransaction",
        "https://github.com/ConnectorIO/connectorio-addons/pull/146",
    ),
    QuirkRow(
        "Timxon*",
        "*",
        Quirks(limit_purpose=LimitPurpose.TX_DEFAULT),
        "A0: answers NotSupported to TxProfile and to ChargePointMaxProfile",
        "https://github.com/lbbrhzn/ocpp/issues/2158",
    ),
    QuirkRow(
        "United Chargers",
        "GRS-*",
        Quirks(autostart=True),
        "Grizzl-E Smart: begins by RemoteStartTransaction only",
        "https://github.com/lbbrhzn/ocpp/issues/442",
    ),
    QuirkRow(
        "ZJBENY",
        "BCP-*",
        Quirks(autostart=True),
        "stays in Preparing until RemoteStartTransaction",
        "https://github.com/evcc-io/evcc/issues/14804",
    ),
)
"""Where two rows match and set the same field, the first counts."""


def find_quirks(make: ChargerModel | None, own: Quirks) -> tuple[KnownQuirk, ...]:
    """Return a charger's quirks with their sources.

    Args:
        make: its make; None: not reported yet, so that the table does not apply.
        own: those of its entry in CHARGERS_FILE.
    """
    sources = [(FROM_FILE, own)]
    if make is not None:
        sources += [(row.source, row.quirks) for row in QUIRKS if row.is_of(make)]
    found: list[KnownQuirk] = []
    for field in fields(Quirks):
        values = ((getattr(quirks, field.name), source) for source, quirks in sources)
        first = next(((value, source) for value, source in values if value is not None), None)
        if first is not None:
            found.append(KnownQuirk(field.name, *first))
    return tuple(found)


def quirks_of(make: ChargerModel | None, own: Quirks) -> Quirks:
    """Return a charger's quirks combined; a field that no source sets is None."""
    return Quirks(**{quirk.name: quirk.value for quirk in find_quirks(make, own)})


def _is_like(reported: str, pattern: str) -> bool:
    return fnmatchcase(reported.strip().casefold(), pattern.casefold())
