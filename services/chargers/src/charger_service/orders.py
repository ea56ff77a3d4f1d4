"""What an operator orders of the site, as it travels and as it is kept.

Texts are one line and bounded, as those of acts are.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from charger_service.kill_audit import AuthenticatedCaller, Text
from ev_service.charging import ChargingMode, Override
from ev_service.telemetry import SiteId
from ev_service.units import Ampere, Kilowatt, KilowattHour, UtcTimestamp


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SiteLimitOrder(_Wire):
    """A lower limit for the whole site."""

    # Without a default of null: to lift a limit has to be said, and a misspelt field must not do it.
    limit_kw: Kilowatt | None = Field(
        gt=0,
        le=100_000,
        description="What the connection may carry, building and cars together [kW], at most as configured; "
        "null: back to that.",
        examples=[60.0],
    )
    reason: Text = Field(description="Why, in one line of at most 500 characters.", examples=["transformer works"])


class DepartureOrder(_Wire):
    """What is known of the car of one session. What is left out stays as it was."""

    departure: UtcTimestamp = Field(description="When the car leaves, UTC.", examples=["2026-06-21T21:00:00Z"])
    energy_wanted_kwh: KilowattHour | None = Field(
        default=None, ge=0, le=1000, description="Energy wanted in all in this session [kWh].", examples=[30.0]
    )
    priority: Annotated[int, Field(ge=0, le=9)] | None = Field(
        default=None, description="Higher goes first when power is scarce.", examples=[5]
    )
    guaranteed_a: Ampere | None = Field(
        default=None,
        ge=0,
        le=80,
        description="Current per phase [A] that it gets wherever that is allowed; 0: none.",
        examples=[6.0],
    )


class ModeOrder(_Wire):
    """How one session is to be charged."""

    mode: Annotated[ChargingMode, Field(strict=False)] = Field(
        description="fast: as much as possible, before others; smart: by departure; surplus: only what the site would"
        " export; minimum_and_surplus: the least current always, more from surplus.",
        examples=["surplus"],
    )


class OverrideKind(StrEnum):
    """What an operator can order of all cars. none: agents command again."""

    STOP = "stop"
    FIXED_POWER = "fixed_power"
    NONE = "none"


class OverrideOrder(_Wire):
    """An order that stands above every agent."""

    kind: OverrideKind = Field(
        description="stop: no car charges. fixed_power: every car may draw so much. none: ends an override.",
        examples=["stop"],
    )
    charging_power_kw: Annotated[Kilowatt, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="For fixed_power: what each car may draw [kW], within all limits; what no car can draw is 0.",
        examples=[11.0],
    )
    minutes: Annotated[float, Field(gt=0, le=1440, allow_inf_nan=False)] | None = Field(
        default=None,
        description="After how long it ends by itself [min]; needed for stop and fixed_power.",
        examples=[30],
    )
    reason: Text = Field(description="Why, in one line of at most 500 characters.", examples=["fire alarm test"])

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> "OverrideOrder":
        if self.kind is not OverrideKind.NONE and self.minutes is None:
            raise ValueError("stop and fixed_power need minutes: an override ends by itself")
        if (self.kind is OverrideKind.FIXED_POWER) != (self.charging_power_kw is not None):
            raise ValueError("charging_power_kw belongs to fixed_power, and only there")
        return self


class ProtectionAct(_Wire):
    """Cars lowered by protection, because the connection carried more than it may."""

    load_kw: Kilowatt = Field(description="What the connection carried [kW].", examples=[108.3])
    limit_kw: Kilowatt = Field(description="What it may carry [kW].", examples=[100.0])
    current_a: tuple[Ampere, ...] | None = Field(
        default=None, description="Current of L1, L2, L3 [A]; null: not measured.", examples=[[168.5, 150.0, 151.2]]
    )
    lowered: int = Field(ge=1, description="How many EVSEs were lowered.", examples=[2])
    reason: Text = Field(description="Why, in one line.", examples=["the connection is overloaded"])


class GridSignalAct(_Wire):
    """What the grid operator's signals allow from now on, as proof for the grid operator."""

    charging_limit_kw: Kilowatt | None = Field(
        default=None, description="What all cars together may draw [kW]; null: not limited.", examples=[12.6]
    )
    connection_limit_kw: Kilowatt | None = Field(
        default=None, description="What building and cars together may draw [kW]; null: not limited."
    )
    signal_ids: tuple[str, ...] = Field(default=(), description="Names of the signals at the grid operator.")
    drawn_kw: Kilowatt = Field(description="What all cars drew then, as last measured [kW].", examples=[21.9])
    unrecorded: int = Field(
        default=0, ge=0, description="Changes since the record before that were too many to record."
    )
    reason: Text = Field(description="Why, in one line.", examples=["signal of the grid operator by mqtt"])


class SiteLimit(_Wire):
    """The limit of the site as it is in force."""

    site_id: SiteId = Field(description="The site.", examples=["greensboro"])
    timestamp: UtcTimestamp = Field(description="When this was so, UTC.", examples=["2026-06-21T16:00:00Z"])
    site_limit_kw: Kilowatt = Field(description="What the connection may carry now [kW].", examples=[60.0])
    configured_kw: Kilowatt = Field(description="What it may carry without an operator's word [kW].", examples=[100.0])
    is_kept_on_disk: bool = Field(description="Whether the order is recorded and outlives this process.")


class OverrideState(_Wire):
    """The override as it is in force."""

    site_id: SiteId = Field(description="The site.", examples=["greensboro"])
    timestamp: UtcTimestamp = Field(description="When this was so, UTC.", examples=["2026-06-21T16:00:00Z"])
    override: Override | None = Field(description="The order in force; null: none, agents command.")
    reason: Text | None = Field(default=None, description="Why it was given.")
    proved: AuthenticatedCaller | None = Field(
        default=None, description="Who gave it, in the gateway's word; null where the service answers anyone."
    )
    is_kept_on_disk: bool = Field(description="Whether the order is recorded and outlives this process.")


class OrderKind(StrEnum):
    """Which order."""

    SITE_LIMIT = "site_limit"
    DEPARTURE = "departure"
    MODE = "mode"
    OVERRIDE = "override"
    PROTECTION = "protection"
    GRID_SIGNAL = "grid_signal"


class RecordedOrder(_Wire):
    """One order as it is kept."""

    number: int = Field(ge=1, description="Counts the orders, in the order in which they were given.", examples=[1])
    recorded_at: UtcTimestamp = Field(description="When it was given, UTC.", examples=["2026-06-21T16:00:00Z"])
    kind: OrderKind = Field(
        description="site_limit, departure, mode, override; protection: by the service itself; grid_signal: by the grid"
        " operator's signal.",
        examples=["override"],
    )
    session_id: str | None = Field(default=None, max_length=64, description="For a departure or a mode: the session.")
    site_limit: SiteLimitOrder | None = Field(default=None, description="For a site_limit: what was ordered.")
    departure: DepartureOrder | None = Field(default=None, description="For a departure: what was ordered.")
    mode: ModeOrder | None = Field(default=None, description="For a mode: what was ordered.")
    override: OverrideOrder | None = Field(default=None, description="For an override: what was ordered.")
    protection: ProtectionAct | None = Field(default=None, description="For protection: what was done.")
    grid_signal: GridSignalAct | None = Field(default=None, description="For a grid_signal: what it allows.")
    proved: AuthenticatedCaller | None = Field(
        default=None, description="Who ordered it, in the gateway's word; null where the service answers anyone."
    )


class Orders(_Wire):
    """A page of the record of orders, the newest first."""

    orders: tuple[RecordedOrder, ...] = Field(description="Orders, the newest first.")
    next_before: int | None = Field(description="Ask for `before` this number to read on; null on the last page.")
    is_kept_on_disk: bool = Field(description="Whether the record outlives this process.")
