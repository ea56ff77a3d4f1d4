"""The chargers as they travel: what ChargerAPI answers, and what ChargerControlAPI takes and answers.

Currents are RMS amperes per phase; powers are at the charger's terminals. Terms follow OCPP: a charger (1.6: charge
point, 2.0.1: charging station) has EVSEs (1.6: connectors), each of which serves one car at a time.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ev_service.telemetry import SiteId
from ev_service.units import Ampere, Kilowatt, KilowattHour, UtcTimestamp

LEAST_CURRENT_A = 6.0
"""Lowest charging current per phase [A]; below it there is only 0 (IEC 61851-1)."""

ChargerId = Annotated[str, Field(min_length=1, max_length=48, pattern=r"^[A-Za-z0-9*\-_=:+|@.]+$")]
"""Identity of a charger, with the characters that OCPP 2.0.1 allows for an identifier."""

EvseId = Annotated[int, Field(ge=1, le=64)]
Phase = Annotated[int, Field(ge=1, le=3)]
LimitedBy = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]


class ChargingMode(StrEnum):
    """How a session wants to be charged."""

    FAST = "fast"
    """As much as possible, before cars of the other modes."""
    SMART = "smart"
    """By departure: what rules or plan give it."""
    SURPLUS = "surplus"
    """Only what the site would give to the grid otherwise."""
    MINIMUM_AND_SURPLUS = "minimum_and_surplus"
    """The least current always, more only from surplus."""


class EvseState(StrEnum):
    """What an EVSE does.

    `occupied`: a car is there and does not charge by its own or the user's choice (1.6: Preparing, Finishing).
    `suspended_ev`: the car takes nothing. `suspended_evse`: the charger gives nothing.
    """

    AVAILABLE = "available"
    OCCUPIED = "occupied"
    CHARGING = "charging"
    SUSPENDED_EV = "suspended_ev"
    SUSPENDED_EVSE = "suspended_evse"
    RESERVED = "reserved"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"
    UNKNOWN = "unknown"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class MeterValues(_Wire):
    """What a meter says of now; at most what the EVSE is rated for, where it says more than that by far."""

    measured_at: UtcTimestamp = Field(
        description="When the service received it, UTC; chargers send it as they measure.",
        examples=["2026-06-21T16:00:00Z"],
    )
    power_kw: Kilowatt = Field(ge=0, description="Power that the car draws [kW].", examples=[10.9])
    current_a: tuple[Ampere, ...] = Field(
        min_length=1, max_length=3, description="Current on L1, L2, L3 of the site [A].", examples=[[15.9, 15.8, 15.9]]
    )
    is_implausible: bool = Field(
        default=False,
        description="Whether the charger reports more than the EVSE is rated for; the rating stands in its place here.",
    )
    confirmed_power_kw: Kilowatt | None = Field(
        default=None,
        ge=0,
        description="What of `power_kw` the connection's meter confirms [kW]; absent: the service reads no such meter.",
        examples=[10.9],
    )
    confirmed_current_a: tuple[Ampere, ...] | None = Field(
        default=None,
        max_length=3,
        description="The same of `current_a` [A]; absent: that meter does not tell the phases apart.",
        examples=[[15.9, 15.8, 15.9]],
    )


class Session(_Wire):
    """One car at one EVSE, from plugging in to leaving."""

    session_id: str = Field(min_length=1, max_length=64, description="Name of the session.")
    charger_id: ChargerId = Field(description="The charger.", examples=["CP-1"])
    evse_id: EvseId = Field(description="Its EVSE.", examples=[1])
    driver_id: str | None = Field(
        default=None,
        max_length=64,
        description="Pseudonym of the driver, the same in each session; absent: no token was presented.",
        examples=["5d3f0c9b1a7e42f68c20"],
    )
    started_at: UtcTimestamp = Field(description="When it began, UTC.", examples=["2026-06-21T15:00:00Z"])
    ended_at: UtcTimestamp | None = Field(default=None, description="When it ended, UTC; absent: it runs.")
    energy_kwh: KilowattHour = Field(ge=0, description="Energy charged so far [kWh].", examples=[7.5])
    energy_wanted_kwh: KilowattHour | None = Field(
        default=None, ge=0, description="Energy wanted in all [kWh]; absent: not known.", examples=[30.0]
    )
    departure: UtcTimestamp | None = Field(
        default=None,
        description="When the car wants to leave, UTC; absent: not known.",
        examples=["2026-06-21T21:00:00Z"],
    )
    priority: int = Field(default=0, ge=0, le=9, description="Higher goes first when power is scarce.", examples=[0])
    guaranteed_a: Ampere = Field(
        default=0.0, ge=0, le=80, description="Current per phase [A] that it gets wherever that is allowed; 0: none."
    )
    mode: ChargingMode = Field(
        default=ChargingMode.SMART,
        description="How it wants to be charged: fast, smart (by departure), surplus or minimum_and_surplus.",
        examples=["smart"],
    )


class Evse(_Wire):
    """One place to charge."""

    evse_id: EvseId = Field(description="Number of the EVSE on its charger.", examples=[1])
    state: EvseState = Field(description="What it does.", examples=["charging"])
    phases: tuple[Phase, ...] = Field(
        min_length=1, max_length=3, description="Phases of the site that it is wired to.", examples=[[1, 2, 3]]
    )
    can_switch_phases: bool = Field(default=False, description="Whether it can be switched to fewer phases.")
    max_current_a: Ampere = Field(gt=0, le=500, description="What it can give at most per phase [A].", examples=[32.0])
    fallback_a: Ampere = Field(
        ge=0, le=500, description="Current per phase [A] to which it falls when a limit lapses.", examples=[6.0]
    )
    limit_a: Ampere | None = Field(
        default=None, ge=0, le=500, description="Limit per phase as applied [A]; absent: the fallback.", examples=[16.0]
    )
    limited_by: LimitedBy | None = Field(
        default=None,
        description="What made the limit lower than asked, protection above all; absent: nothing did.",
        examples=["site_limit"],
    )
    valid_until: UtcTimestamp | None = Field(default=None, description="When the limit lapses, UTC.")
    is_confirmed: bool = Field(default=False, description="Whether the charger accepted the limit.")
    is_overdrawing: bool = Field(default=False, description="Whether the car draws more than the limit.")
    draws_without_session: bool = Field(
        default=False, description="Whether power is drawn though no session is known, which only the fallback bounds."
    )
    measured: MeterValues | None = Field(default=None, description="Newest meter values; absent: none yet.")
    session: Session | None = Field(default=None, description="The car that is there; absent: none.")


class Charger(_Wire):
    """One charger and its EVSEs."""

    charger_id: ChargerId = Field(description="Its identity.", examples=["CP-1"])
    is_connected: bool = Field(description="Whether it is connected now.")
    last_seen: UtcTimestamp | None = Field(default=None, description="When it was last heard, UTC; absent: never.")
    ocpp_version: str | None = Field(
        default=None, description="1.6 or 2.0.1; absent: never connected.", examples=["1.6"]
    )
    vendor: str | None = Field(default=None, description="Who made it, in its own words.")
    model: str | None = Field(default=None, description="What it is, in its own words.")
    firmware_version: str | None = Field(default=None, description="Its firmware.")
    feeder_id: str = Field(description="The feeder it hangs on.", examples=["main"])
    evses: tuple[Evse, ...] = Field(min_length=1, max_length=64, description="Its EVSEs.")


class SchemaOffence(_Wire):
    """A kind of message with which a charger breaks the schema of OCPP."""

    message: str = Field(description="Action of the message, or of the answer.", examples=["StatusNotification"])
    reason: str = Field(
        description="Where and how it breaks the schema.",
        examples=["errorCode: not one of the standard's values"],
    )
    is_refused: bool = Field(
        description="Whether the message could not be understood; otherwise what is clear in it counts."
    )
    count: int = Field(ge=1, description="How often since the service began.", examples=[12])
    last_at: UtcTimestamp = Field(description="When last, UTC.", examples=["2026-06-21T16:00:00Z"])


class ChargerQuirk(_Wire):
    """What a charger needs that others do not."""

    quirk: str = Field(description="Name of the quirk.", examples=["rate_unit"])
    value: str = Field(description="What counts.", examples=["W"])
    source: str = Field(
        description="Where it is known from: a public report on the charger's make, or CHARGERS_FILE.",
        examples=["https://github.com/lbbrhzn/ocpp/issues/1635"],
    )


class LimitMethod(_Wire):
    """By which charging profile a charger takes its limits; docs/chargers.md says what that means for the car."""

    purpose: str = Field(
        description="TxProfile, TxDefaultProfile or ChargePointMaxProfile (2.0.1: ChargingStationMaxProfile).",
        examples=["TxProfile"],
    )
    stack_level: int = Field(ge=0, description="Its stack level.", examples=[1])
    unit: str = Field(description="A: amperes per phase; W: watts over all phases.", examples=["A"])


class ChargerDetails(Charger):
    """One charger with what is of use to whoever connects it."""

    quirks: tuple[ChargerQuirk, ...] | None = Field(
        default=None, max_length=20, description="What it needs that others do not, by its make or by CHARGERS_FILE."
    )
    limit_method: LimitMethod | None = Field(
        default=None, description="How it takes limits; absent: it has accepted none yet."
    )
    offences: tuple[SchemaOffence, ...] | None = Field(
        default=None, max_length=20, description="How its messages break the schema of OCPP, the newest first."
    )


class Feeder(_Wire):
    """A cable that several chargers share."""

    feeder_id: str = Field(min_length=1, max_length=64, description="Its name.", examples=["main"])
    limit_a: Ampere = Field(gt=0, le=10_000, description="What each of its phases may carry [A].", examples=[125.0])


class Override(_Wire):
    """What an operator ordered; it stands above every agent."""

    kind: Annotated[str, Field(pattern="^(stop|fixed_power)$")] = Field(description="stop or fixed_power.")
    charging_power_kw: Kilowatt | None = Field(
        default=None, ge=0, le=1000, description="For fixed_power: what each car may draw [kW], within all limits."
    )
    until: UtcTimestamp = Field(description="When it ends by itself, UTC.")


class SignalScope(StrEnum):
    """What a limit of the grid operator applies to: all cars together, or building and cars together."""

    CHARGING = "charging"
    CONNECTION = "connection"


class GridSignal(_Wire):
    """A limit of the grid operator, in force or announced; it can only lower what the site allows anyway."""

    limit_kw: Kilowatt = Field(ge=0, le=100_000, description="Highest power [kW].", examples=[12.6])
    applies_to: SignalScope = Field(
        description="charging: to all cars together; connection: to building and cars together."
    )
    valid_from: UtcTimestamp | None = Field(default=None, description="When it begins, UTC; absent: it has begun.")
    valid_until: UtcTimestamp | None = Field(
        default=None, description="When it ends, UTC; absent: once the source is heard again."
    )
    is_in_force: bool = Field(description="Whether it has begun.")
    is_default: bool = Field(
        default=False, description="Whether it is the safe default that applies because the source is silent."
    )
    source: str = Field(min_length=1, max_length=32, description="How it was received.", examples=["mqtt"])
    signal_id: str | None = Field(default=None, max_length=64, description="Its name at the grid operator.")


class Chargers(_Wire):
    """All chargers of the site, and the limits under which they share."""

    site_id: SiteId = Field(description="The site.", examples=["greensboro"])
    timestamp: UtcTimestamp = Field(description="When this was so, UTC.", examples=["2026-06-21T16:00:00Z"])
    source: str = Field(min_length=1, max_length=32, description="Where it comes from.", examples=["ocpp"])
    site_limit_kw: Kilowatt = Field(
        ge=0,
        description="What the connection may carry, building and cars together [kW]: the configured limit, or a lower"
        " one of an operator or of the grid operator's signal.",
    )
    charging_limit_kw: Kilowatt | None = Field(
        default=None,
        ge=0,
        description="What all cars together may draw by the grid operator's signal [kW]; absent: they are not limited.",
    )
    grid_signals: tuple[GridSignal, ...] = Field(
        default=(), description="Limits of the grid operator that are in force or announced, the first to begin first."
    )
    voltage_v: float = Field(gt=0, allow_inf_nan=False, description="Voltage between phase and neutral [V].")
    phases: int = Field(ge=1, le=3, description="Phases of the site.")
    feeders: tuple[Feeder, ...] = Field(description="The feeders and what they may carry.")
    override: Override | None = Field(default=None, description="The operator's order in force; absent: none.")
    chargers: tuple[Charger, ...] = Field(description="The chargers, by identity.")


class Sessions(_Wire):
    """The cars that are there."""

    site_id: SiteId = Field(description="The site.", examples=["greensboro"])
    timestamp: UtcTimestamp = Field(description="When this was so, UTC.")
    source: str = Field(min_length=1, max_length=32, description="Where it comes from.", examples=["ocpp"])
    sessions: tuple[Session, ...] = Field(description="The running sessions, the oldest first.")


class Limit(BaseModel):
    """One limit to set."""

    # Not strict: it is read from a request's body, where times are texts.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    charger_id: ChargerId = Field(description="The charger.", examples=["CP-1"])
    evse_id: EvseId = Field(description="Its EVSE.", examples=[1])
    limit_a: Ampere = Field(
        ge=0, le=500, description="Current per phase [A]: 0 pauses, at least 6 charges.", examples=[16.0]
    )
    phases: Annotated[int, Field(ge=1, le=3)] | None = Field(
        default=None, description="Charge on this many phases; absent: as wired. For chargers that can switch."
    )
    valid_until: UtcTimestamp = Field(description="When the limit lapses, UTC.", examples=["2026-06-21T16:00:45Z"])


class LimitOutcome(StrEnum):
    """How one limit ended.

    applied: the charger accepted it as asked. partly_applied: a lower one is in force.
    rejected: it is not in force; what was before stays, or the fallback.
    """

    APPLIED = "applied"
    PARTLY_APPLIED = "partly_applied"
    REJECTED = "rejected"


class LimitResult(_Wire):
    """What came of one limit."""

    charger_id: ChargerId = Field(description="The charger.", examples=["CP-1"])
    evse_id: EvseId = Field(description="Its EVSE.", examples=[1])
    outcome: LimitOutcome = Field(description="applied, partly_applied or rejected.")
    limit_a: Ampere | None = Field(
        default=None, ge=0, le=500, description="The limit in force [A]; absent: none is known to be."
    )
    limited_by: LimitedBy | None = Field(
        default=None,
        description="What stood in the way: protection, measured_load, meter_lost, grid_signal, site_limit,"
        " phase_limit, feeder_limit, charger_limit, least_current, override, unknown_charger, unknown_evse,"
        " not_connected, charger_rejected, charger_no_answer, valid_until, duplicate, no_session, not_allowed …",
    )
    detail: str | None = Field(default=None, max_length=300, description="The same in one sentence.")
    valid_until: UtcTimestamp | None = Field(default=None, description="When the limit in force lapses, UTC.")


class Lease(_Wire):
    """Who commands now; nobody else may until it ends."""

    commander: str = Field(min_length=1, max_length=64, description="Who commands.")
    until: UtcTimestamp = Field(description="When somebody else may, UTC.")


class LimitResults(_Wire):
    """What came of a call that set limits, one result for each limit, in its order."""

    site_id: SiteId = Field(description="The site.", examples=["greensboro"])
    timestamp: UtcTimestamp = Field(description="When it was done, UTC.")
    lease: Lease = Field(description="Who commands, and until when.")
    results: tuple[LimitResult, ...] = Field(description="One for each limit asked, in the same order.")
