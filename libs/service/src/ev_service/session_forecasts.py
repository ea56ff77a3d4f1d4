"""Forecasts of charging sessions as they travel: what ChargerAPI answers and what the agent accepts."""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ev_service.charging import ChargerId, EvseId
from ev_service.forecasts import MAX_INTERVALS, RecentError
from ev_service.telemetry import SiteId
from ev_service.units import KilowattHour, UtcTimestamp

MAX_SESSIONS = 2_000
"""Most running sessions of one answer."""

Share = Annotated[float, Field(ge=0, le=1)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class ExpectedDeparture(_Wire):
    """Quantiles of the time at which a car leaves.

    Raises:
        ValueError: the quantiles are out of order.
    """

    p10: UtcTimestamp = Field(description="It has left before this with a probability of 10 %, UTC.")
    p50: UtcTimestamp = Field(description="Median, UTC.")
    p90: UtcTimestamp = Field(description="It has left before this with a probability of 90 %, UTC.")

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.p10 <= self.p50 <= self.p90:
            raise ValueError("the quantiles must rise: p10 <= p50 <= p90")
        return self


class ExpectedEnergy(_Wire):
    """Quantiles of the energy of a whole session [kWh].

    Raises:
        ValueError: the quantiles are out of order.
    """

    p10: KilowattHour = Field(ge=0, description="It takes less with a probability of 10 % [kWh].", examples=[4.1])
    p50: KilowattHour = Field(ge=0, description="Median [kWh].", examples=[9.0])
    p90: KilowattHour = Field(ge=0, description="It takes less with a probability of 90 % [kWh].", examples=[21.5])

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.p10 <= self.p50 <= self.p90:
            raise ValueError("the quantiles must rise: p10 <= p50 <= p90")
        return self


class ForecastShares(_Wire):
    """Whose sessions a forecast was made of; the shares' sum is 1."""

    driver: Share = Field(description="Share of the driver's own sessions.", examples=[0.7])
    station: Share = Field(description="Share of sessions at the same EVSE.", examples=[0.1])
    site: Share = Field(description="Share of sessions anywhere at the site.", examples=[0.18])
    prior: Share = Field(description="Share of what holds without any history.", examples=[0.02])


class ExpectedSession(_Wire):
    """What is expected of one running session."""

    session_id: str = Field(min_length=1, max_length=64, description="Name of the session.")
    charger_id: ChargerId = Field(description="The charger.", examples=["CP-1"])
    evse_id: EvseId = Field(description="Its EVSE.", examples=[1])
    departure: ExpectedDeparture = Field(description="When the car leaves; none is before `issued_at`.")
    energy_kwh: ExpectedEnergy = Field(
        description="Energy of the whole session if the car is given what it takes, what is charged already included."
    )
    shares: ForecastShares = Field(description="Whose sessions the forecast was made of.")


class ArrivalsInterval(_Wire):
    """Cars that are expected to arrive in one interval.

    Raises:
        ValueError: the quantiles are out of order.
    """

    interval_start: UtcTimestamp = Field(description="Start of the interval, UTC; it lasts `resolution_s`.")
    mean: float = Field(ge=0, description="Mean number of cars.", examples=[1.7])
    p10: int = Field(ge=0, description="10 % quantile of the number of cars.", examples=[0])
    p50: int = Field(ge=0, description="Median of the number of cars.", examples=[2])
    p90: int = Field(ge=0, description="90 % quantile of the number of cars.", examples=[4])
    energy_kwh: KilowattHour = Field(
        ge=0, description="Mean energy that these cars take in all [kWh].", examples=[14.5]
    )

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.p10 <= self.p50 <= self.p90:
            raise ValueError("the quantiles must rise: p10 <= p50 <= p90")
        return self


class SessionForecasts(_Wire):
    """Forecasts of the running sessions, and the arrivals of the next hours.

    Raises:
        ValueError: the intervals do not follow each other.
    """

    site_id: SiteId = Field(description="The site.", examples=["greensboro"])
    issued_at: UtcTimestamp = Field(description="Nothing that was learned after this moment is in it, UTC.")
    model: str = Field(min_length=1, max_length=64, description="The model that made it.", examples=["pooled-sessions"])
    learned_sessions: int = Field(
        ge=0, description="Ended sessions that forecasts are made of, at most the newest 2,000.", examples=[812]
    )
    departure_error: RecentError | None = Field(
        default=None,
        description="Error of the median departure at arrival [h] beside that of the naive model: the departure that"
        " was told, else the site's median stay; null: too few sessions.",
    )
    energy_error: RecentError | None = Field(
        default=None,
        description="Error of the median energy at arrival [kWh] beside that of the naive model: the energy that was"
        " asked for, else the site's median; null: too few sessions.",
    )
    sessions: tuple[ExpectedSession, ...] = Field(
        max_length=MAX_SESSIONS, strict=False, description="The running sessions, the oldest first."
    )
    resolution_s: int = Field(
        gt=0, le=86_400, description="Length of each interval of `arrivals` [s].", examples=[3600]
    )
    arrivals: tuple[ArrivalsInterval, ...] = Field(
        max_length=MAX_INTERVALS, strict=False, description="Expected arrivals; the first interval begins at issued_at."
    )

    @model_validator(mode="after")
    def _is_contiguous(self) -> Self:
        starts = [interval.interval_start for interval in self.arrivals]
        if any((later - earlier).total_seconds() != self.resolution_s for earlier, later in pairwise(starts)):
            raise ValueError("the intervals must follow each other without a gap, each resolution_s long")
        return self
