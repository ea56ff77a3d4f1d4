"""The readings as they travel: what a service answers and what the agent accepts.

A reading that breaks a bound, is not finite or has the wrong type is refused whole; fields that a reader
does not know are ignored, so that a service may say more.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ev_service.units import (
    Ampere,
    Kilowatt,
    KilowattHour,
    KilowattPeak,
    Percent,
    UtcTimestamp,
    WattPerSquareMetre,
)

SiteId = Annotated[str, Field(min_length=1, max_length=64)]


class Reading(BaseModel):
    """What every reading carries."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    site_id: SiteId = Field(description="The site that the reading belongs to.", examples=["greensboro"])
    timestamp: UtcTimestamp = Field(
        description="The last moment at which the service knows the value to hold, UTC.",
        examples=["2026-06-21T16:00:00Z"],
    )
    source: str = Field(
        min_length=1,
        max_length=32,
        description="Where the value comes from: simulated, replay, mqtt …",
        examples=["simulated"],
    )
    source_time: UtcTimestamp | None = Field(
        default=None, description="For a replayed value: the time of its row in the recording, UTC."
    )


class SolarStatus(Reading):
    """What the panels give now."""

    generation_kw: Kilowatt = Field(ge=0, description="AC power that the panels give [kW].", examples=[41.0])
    capacity_kwp: KilowattPeak = Field(gt=0, description="Rated DC power of the panels [kWp].", examples=[50.0])
    poa_global_w_m2: WattPerSquareMetre | None = Field(
        default=None, ge=0, description="Irradiance in the plane of the panels [W/m²].", examples=[870.0]
    )


class BatteryStatus(Reading):
    """How full the stationary battery is, and what it does."""

    soc_percent: Percent = Field(ge=0, le=100, description="State of charge [%].", examples=[83.0])
    capacity_kwh: KilowattHour = Field(gt=0, description="Usable capacity [kWh].", examples=[100.0])
    active_power_kw: Kilowatt | None = Field(
        default=None, description="Power at the terminals [kW]: positive charges, negative discharges.", examples=[12.5]
    )


class GridLoad(Reading):
    """How loaded the grid connection is."""

    load_percent: Percent = Field(ge=0, description="`load_kw` over `limit_kw` [%]; may pass 100.", examples=[61.0])
    load_kw: Kilowatt = Field(ge=0, description="Power drawn from the grid [kW].", examples=[61.0])
    limit_kw: Kilowatt = Field(gt=0, description="What the connection may carry [kW].", examples=[100.0])
    export_kw: Kilowatt = Field(default=0.0, ge=0, description="Power given to the grid [kW].", examples=[0.0])
    includes_charging: bool = Field(
        default=True, description="Whether `load_kw` holds the charging of the cars.", examples=[False]
    )
    current_a: tuple[Ampere, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="Current of L1, L2, L3 [A], one for each phase of the site: positive is drawn from the grid,"
        " negative given to it. Absent: not known.",
        examples=[[106.0, 88.4, 70.7]],
    )
