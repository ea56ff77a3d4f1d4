"""The site's tariff: the parts of the price that no market sets, by local time, day and season.

A file states it: network fees by time (such as §14a EnWG module 3), taxes, what export is paid, a demand charge, CO2.
Each is a list of time windows; the first that holds a moment gives the value, and where none does it is not known.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import IntEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ev_service.prices import MAX_CO2_G_PER_KWH, MAX_PARTS, Currency, PartName
from grid_service.prices.table import ENERGY, MAX_STATED_PER_KWH, TAXES, PriceFormatError

VAT = "vat"
"""Name of the part that value-added tax makes."""

_QUARTER_MIN = 15
_DAY_MIN = 24 * 60


class Weekday(IntEnum):
    """Days of the week as `date.weekday` counts them."""

    MON, TUE, WED, THU, FRI, SAT, SUN = range(7)


def _parse_weekday(value: object) -> object:
    return Weekday.__members__.get(value.upper(), value) if isinstance(value, str) else value


def _parse_minute(value: object) -> object:
    """`HH:MM` in minutes since midnight; `24:00` is the end of the day."""
    if value == "24:00":
        return _DAY_MIN
    if not isinstance(value, str):
        raise ValueError("must be a time such as 17:00")
    moment = time.fromisoformat(value)
    if moment.tzinfo is not None or moment.second or moment.microsecond or moment.minute % _QUARTER_MIN:
        raise ValueError("must be a local time at a whole quarter of an hour, such as 17:15")
    return moment.hour * 60 + moment.minute


MinuteOfDay = Annotated[int, BeforeValidator(_parse_minute), Field(ge=0, le=_DAY_MIN)]


class TimeWindow(BaseModel):
    """A value and when it holds, by local time; a condition that is absent holds always."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    value: float = Field(
        ge=-MAX_STATED_PER_KWH, le=MAX_STATED_PER_KWH, description="The value, in the unit of its list."
    )
    months: frozenset[Annotated[int, Field(ge=1, le=12)]] | None = Field(
        default=None, min_length=1, description="Months, 1 to 12."
    )
    weekdays: frozenset[Annotated[Weekday, BeforeValidator(_parse_weekday)]] | None = Field(
        default=None, min_length=1, description="Days of the week, `mon` to `sun`."
    )
    from_minute: MinuteOfDay | None = Field(
        default=None, alias="from", description="From this time of day on, such as `17:00`."
    )
    to_minute: MinuteOfDay | None = Field(
        default=None,
        alias="to",
        description="Until this time of day, exclusive; before `from` the window passes midnight.",
    )
    first_day: date | None = Field(default=None, description="First day, such as `2026-01-01`.")
    last_day: date | None = Field(default=None, description="Last day.")

    @model_validator(mode="after")
    def _has_both_ends(self) -> Self:
        if (self.from_minute is None) != (self.to_minute is None) or (
            self.from_minute is not None and self.from_minute == self.to_minute
        ):
            raise ValueError("from and to go together and differ")
        if self.first_day is not None and self.last_day is not None and self.last_day < self.first_day:
            raise ValueError("last_day must not lie before first_day")
        return self

    def holds(self, local: datetime) -> bool:
        """Tell whether it holds at a moment, given as local time; the day is that of the moment itself."""
        day = local.date()
        return (
            (self.months is None or local.month in self.months)
            and (self.weekdays is None or local.weekday() in self.weekdays)
            and (self.first_day is None or day >= self.first_day)
            and (self.last_day is None or day <= self.last_day)
            and self._holds_time(local.hour * 60 + local.minute)
        )

    def _holds_time(self, minute: int) -> bool:
        if self.from_minute is None or self.to_minute is None:
            return True
        if self.from_minute < self.to_minute:
            return self.from_minute <= minute < self.to_minute
        return minute >= self.from_minute or minute < self.to_minute


Windows = Annotated[tuple[TimeWindow, ...], Field(min_length=1, max_length=100)]


class ValueAddedTax(BaseModel):
    """Value-added tax on parts of the import price."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    percent: float = Field(ge=0, le=100, description="Rate [%].")
    of: tuple[PartName, ...] | None = Field(default=None, description="Parts that are taxed; absent: all of them.")


class Tariff(BaseModel):
    """The tariff file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    currency: Currency | None = Field(default=None, description="Absent: as the source of prices says.")
    timezone: str | None = Field(default=None, description="IANA time zone of all times; absent: the site's.")
    import_parts: dict[PartName, Windows] = Field(
        default_factory=dict[str, Windows],
        # A source may add two parts, and the tax is one.
        max_length=MAX_PARTS - 3,
        description="Parts of the import price by name [currency/kWh].",
    )
    vat: ValueAddedTax | None = Field(default=None, description="Adds the part `vat` to the import price.")
    export_parts: dict[PartName, Windows] = Field(
        default_factory=dict[str, Windows],
        max_length=MAX_PARTS - 1,
        description="Parts of the export price by name [currency/kWh].",
    )
    export_energy_share: float | None = Field(
        default=None, ge=0, le=1, description="Share of the market's energy price that export is paid; absent: none."
    )
    demand_charge_per_kw: Windows | None = Field(
        default=None, description="Charge on the highest mean power of a billing month [currency/kW]."
    )
    co2_g_per_kwh: Windows | None = Field(
        default=None, description="CO2 of energy from the grid where no source gives it [g/kWh]."
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.timezone is not None:
            _zone(self.timezone)
        if VAT in self.import_parts:
            raise ValueError("vat is no part of its own: set `vat`")
        if self.export_energy_share is not None and ENERGY in self.export_parts:
            raise ValueError("export_parts must not name energy beside export_energy_share")
        if self.vat is not None and (unknown := {*(self.vat.of or ())} - {*self.import_parts, ENERGY, TAXES}):
            raise ValueError(f"vat names {', '.join(sorted(unknown))}, which is no part")
        if any(window.value < 0 for window in self.demand_charge_per_kw or ()):
            raise ValueError("the demand charge must not be negative")
        if any(not 0 <= window.value <= MAX_CO2_G_PER_KWH for window in self.co2_g_per_kwh or ()):
            raise ValueError(f"CO2 must lie between 0 and {MAX_CO2_G_PER_KWH:g} g/kWh")
        return self


def parse_tariff(content: bytes) -> Tariff:
    """Parse a tariff file, JSON.

    Raises:
        PriceFormatError: it is not one; names the field.
    """
    try:
        return Tariff.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise PriceFormatError(f"{place}: {first['msg']}" if place else first["msg"]) from error


@dataclass(frozen=True, slots=True)
class TariffValues:
    """What a tariff states at one moment."""

    import_parts: Mapping[str, float] | None
    """Parts of the import price but for tax on them [currency/kWh]; None: one of them is not known."""

    export_parts: Mapping[str, float] | None
    """Parts of the export price [currency/kWh]; None: one of them is not known."""

    co2_g_per_kwh: float | None
    """CO2 [g/kWh]; None: not stated."""


class LocalTariff:
    """A tariff in its time zone.

    Args:
        tariff: the file.
        timezone: of the site, for a tariff that names none.
    """

    def __init__(self, tariff: Tariff, timezone: str) -> None:
        self.tariff = tariff
        self.zone = _zone(tariff.timezone or timezone)

    def values_at(self, moment: datetime) -> TariffValues:
        """What it states at a moment, UTC."""
        local, tariff = moment.astimezone(self.zone), self.tariff
        return TariffValues(
            _all_known({name: _value_of(windows, local) for name, windows in tariff.import_parts.items()}),
            _all_known({name: _value_of(windows, local) for name, windows in tariff.export_parts.items()}),
            None if tariff.co2_g_per_kwh is None else _value_of(tariff.co2_g_per_kwh, local),
        )

    def demand_charge_at(self, moment: datetime) -> float | None:
        """Demand charge at a moment, UTC [currency/kW]; None: none is stated."""
        windows = self.tariff.demand_charge_per_kw
        return None if windows is None else _value_of(windows, moment.astimezone(self.zone))

    def find_resolution_s(self, start: datetime, end: datetime) -> int:
        """The longest of 15, 30 and 60 min at whose multiples, counted in UTC, all windows begin and end [s].

        Args:
            start: start of the time that counts, UTC.
            end: its end; the offset from UTC may have changed by half an hour.
        """
        offsets = [moment.astimezone(self.zone).utcoffset() or timedelta() for moment in (start, end)]
        offsets_min = {offset // timedelta(minutes=1) for offset in offsets}
        boundaries = {0, *self._boundaries()}
        return math.gcd(60, *((minute - offset) % 60 for minute in boundaries for offset in offsets_min)) * 60

    def _boundaries(self) -> Iterable[int]:
        tariff = self.tariff
        lists = [*tariff.import_parts.values(), *tariff.export_parts.values(), tariff.co2_g_per_kwh or ()]
        for window in (window for windows in lists for window in windows):
            yield from (minute for minute in (window.from_minute, window.to_minute) if minute is not None)


def _value_of(windows: Sequence[TimeWindow], local: datetime) -> float | None:
    return next((window.value for window in windows if window.holds(local)), None)


def _all_known(values: Mapping[str, float | None]) -> Mapping[str, float] | None:
    known = {name: value for name, value in values.items() if value is not None}
    return known if len(known) == len(values) else None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name[:64]} is not an IANA time zone such as Europe/Berlin") from error
