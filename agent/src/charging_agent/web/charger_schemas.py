"""The chargers as the agent tells of them: what they do, what each car may take, and who says so."""

from pydantic import BaseModel, ConfigDict, Field

from charging_agent.charging.controller import ChargingController
from charging_agent.charging.fleet import car_name, iter_evses
from charging_agent.charging.sharing import Allotment
from charging_agent.gateway.calls import OK, FailureReason
from charging_agent.readings.assessment import Status
from ev_service.charging import Charger, Evse, EvseState, GridSignal, Lease
from ev_service.units import UtcTimestamp

_NOTHING_YET = "nothing_yet"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class CarAnswer(_Answer):
    """One car at its charger."""

    charger_id: str = Field(description="The charger.", examples=["CP-1"])
    evse_id: int = Field(description="Its EVSE.", examples=[1])
    is_connected: bool = Field(description="Whether a limit reaches the charger.")
    state: EvseState = Field(description="What the EVSE does.")
    limit_a: float = Field(description="The limit in force per phase [A], the fallback where none is set.")
    limited_by: str | None = Field(default=None, description="What kept it from more: site, plan or charger.")
    planned_a: float | None = Field(default=None, description="What the last plan gave it per phase [A].")
    power_kw: float | None = Field(default=None, description="What it draws, as last measured [kW].")
    energy_kwh: float = Field(description="What it got so far [kWh].")
    draws_without_session: bool = Field(
        default=False, description="Whether it draws power though no session is known, which only the fallback bounds."
    )


class ChargersAnswer(_Answer):
    """The chargers, and how commanding them goes."""

    status: Status = Field(description="How good the last reading of the chargers is.")
    age_s: float | None = Field(default=None, description="Its age [s].")
    error: FailureReason | None = Field(default=None, description="For stale and missing: what stood in the way.")
    commanding: str = Field(
        description="How the last try to set limits ended: ok, override (an operator commands), leased (somebody else "
        "does), or a word as in readings; nothing_yet before the first.",
        examples=["ok"],
    )
    trouble: str | None = Field(default=None, description="What keeps limits from being set; else absent.")
    valid_until: UtcTimestamp | None = Field(default=None, description="When the limits set last lapse, UTC.")
    lease: Lease | None = Field(default=None, description="Who commands, and until when.")
    limit_kw: float | None = Field(default=None, description="What building and cars may take together [kW].")
    grid_signals: list[GridSignal] = Field(
        default_factory=list[GridSignal], description="Limits of the grid operator that are in force or announced."
    )
    room_kw: float | None = Field(default=None, description="What the last plan had for all cars [kW].")
    drawn_kw: float = Field(description="What all cars draw, as last measured [kW].")
    cars: list[CarAnswer] = Field(description="The cars that are there.")
    overdrawing: list[str] = Field(description="Cars above their limit for too long.")
    without_meter: list[str] = Field(description="Charging cars whose meter says nothing.")
    contradicted: list[str] = Field(
        default_factory=list[str], description="Cars reported to draw more than the connection's meter can confirm."
    )


def build_chargers_answer(charging: ChargingController) -> ChargersAnswer:
    """Write down what is held of the chargers, without any call."""
    seen, plan, commanded = charging.assess_reading(), charging.latest_plan, charging.latest_command
    headroom = None if plan is None else plan.headroom
    cars = _build_cars(charging)
    return ChargersAnswer(
        status=seen.status,
        age_s=None if seen.age_s is None else max(0.0, round(seen.age_s, 3)),
        error=seen.error,
        commanding=_NOTHING_YET if commanded is None else commanded.outcome,
        trouble=charging.health_error(),
        valid_until=None if commanded is None or commanded.outcome != OK else commanded.valid_until,
        lease=None if commanded is None else commanded.lease,
        limit_kw=None if headroom is None else round(headroom.percent / 100 * headroom.limit_kw, 3),
        grid_signals=[] if charging.latest_reading is None else list(charging.latest_reading.grid_signals),
        room_kw=None if plan is None else round(plan.room.total_kw, 3),
        drawn_kw=round(sum(car.power_kw or 0.0 for car in cars), 3),
        cars=cars,
        overdrawing=[car_name(key) for key in charging.alarms.overdrawing],
        without_meter=[car_name(key) for key in charging.alarms.without_meter],
        contradicted=[car_name(key) for key in charging.alarms.contradicted],
    )


def _build_cars(charging: ChargingController) -> list[CarAnswer]:
    if charging.latest_reading is None:
        return []
    limits_a = charging.limits_in_force(charging.latest_reading)
    allotted = {} if charging.latest_plan is None else {one.key: one for one in charging.latest_plan.allotments}
    return [
        _build_car(charger, evse, limits_a[key], allotted.get(key))
        for key, charger, evse in iter_evses(charging.latest_reading)
        if evse.session is not None or evse.draws_without_session
    ]


def _build_car(charger: Charger, evse: Evse, limit_a: float, allotment: Allotment | None) -> CarAnswer:
    planned_by = None if allotment is None or allotment.limited_by is None else allotment.limited_by.value
    return CarAnswer(
        charger_id=charger.charger_id,
        evse_id=evse.evse_id,
        is_connected=charger.is_connected,
        state=evse.state,
        limit_a=limit_a,
        limited_by=evse.limited_by or planned_by,
        planned_a=None if allotment is None else allotment.limit_a,
        power_kw=None if evse.measured is None else evse.measured.power_kw,
        energy_kwh=0.0 if evse.session is None else evse.session.energy_kwh,
        draws_without_session=evse.draws_without_session,
    )
