"""Energy meters that speak as Tasmota and Shelly do: one signed power, perhaps a counter of energy.

Sources: Tasmota's documentation, "MQTT" and "Energy monitoring" (`tele/%topic%/SENSOR`, `LWT`); Shelly's API of its
second generation, "RPC over MQTT notifications" (`NotifyStatus` on `<prefix>/events/rpc`, and `<prefix>/online`).
"""

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ev_sensors.measurement import Measurement, Reason, Refusal
from ev_sensors.shapes import Role, Shape, Status
from ev_sensors.shapes.own import why_wrong
from ev_service.errors import ConfigurationError
from ev_service.units import Kilowatt

_W_PER_KW = 1000.0

Told = Callable[[Kilowatt], dict[str, float]]
"""A meter's power [kW], positive as the site draws it, in the words of a role."""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Energy(_Said):
    power_w: float | list[float] = Field(alias="Power")
    total_kwh: float | list[float] | None = Field(default=None, alias="Total")


class _Sensor(_Said):
    time: str = Field(alias="Time")
    energy: _Energy = Field(alias="ENERGY")


class _Power(_Said):
    total_act_power: float | None = None
    apower: float | None = None


class _Counter(_Said):
    total_act: float | None = None


class _Params(_Said):
    ts: float = Field(gt=0, lt=2**36)
    em: _Power | None = Field(default=None, alias="em:0")
    em_data: _Counter | None = Field(default=None, alias="emdata:0")
    pm: _Power | None = Field(default=None, alias="pm1:0")
    switch: _Power | None = Field(default=None, alias="switch:0")


class _Notification(_Said):
    method: str
    params: _Params


def tasmota_shape(role: Role, base: str, *, factor: float, zone: ZoneInfo) -> Shape:
    """A meter that runs Tasmota.

    Args:
        role: what it measures.
        base: topic without its last word, `tele/{topic}`.
        factor: its power is multiplied by it; -1 turns the sign.
        zone: in which its clock runs where its messages carry no offset, as they do by default.
    """
    told = _in_words_of(role, factor)

    def parse(payload: bytes, now: datetime) -> Measurement | Refusal:
        try:
            said = _Sensor.model_validate_json(payload)
            moment = _moment(said.time, zone, now)
        except ValidationError as error:
            return Refusal(Reason.SCHEMA, why_wrong(error))
        except (ValueError, OverflowError):
            return Refusal(Reason.SCHEMA, "Time: not a time of ISO 8601")
        total_kwh = said.energy.total_kwh
        energy_kwh = None if total_kwh is None else _sum(total_kwh)
        return Measurement(moment, told(_sum(said.energy.power_w) / _W_PER_KW), energy_kwh=energy_kwh)

    return Shape(f"{base}/SENSOR", f"{base}/LWT", parse, _word(b"Online", b"Offline"))


def shelly_shape(role: Role, base: str, *, factor: float) -> Shape:
    """A Shelly meter of the second generation, which tells of all its parts on one topic.

    Args:
        role: what it measures.
        base: the device's own topic prefix.
        factor: its power is multiplied by it; -1 turns the sign.
    """
    told = _in_words_of(role, factor)

    def parse(payload: bytes, _: datetime) -> Measurement | Refusal | None:
        try:
            said = _Notification.model_validate_json(payload)
        except ValidationError as error:
            return Refusal(Reason.SCHEMA, why_wrong(error))
        power_w = _shelly_power_w(said.params)
        if said.method not in ("NotifyStatus", "NotifyFullStatus") or power_w is None:
            return None
        counter = said.params.em_data
        wh = None if counter is None else counter.total_act
        moment = datetime.fromtimestamp(said.params.ts, UTC)
        return Measurement(moment, told(power_w / _W_PER_KW), energy_kwh=None if wh is None else wh / _W_PER_KW)

    return Shape(f"{base}/events/rpc", f"{base}/online", parse, _word(b"true", b"false"), mixed=8)


def _in_words_of(role: Role, factor: float) -> Told:
    if role == "battery":
        raise ConfigurationError("a meter cannot say how full a battery is: choose another MQTT shape for it")

    def solar(power_kw: float) -> dict[str, float]:
        return {"generation_kw": power_kw * factor}

    def grid(power_kw: float) -> dict[str, float]:
        return {"load_kw": max(power_kw * factor, 0.0), "export_kw": max(-power_kw * factor, 0.0)}

    return solar if role == "solar" else grid


def _shelly_power_w(params: _Params) -> float | None:
    """The power of whichever part measures it; None where the notification is about something else."""
    for part in (params.em, params.pm, params.switch):
        if part is not None:
            power_w = part.total_act_power if part.total_act_power is not None else part.apower
            if power_w is not None:
                return power_w
    return None


def _sum(value: float | list[float]) -> float:
    return sum(value) if isinstance(value, list) else value


def _moment(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    # The hour that comes twice in autumn is the one that is nearer to now.
    both = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(both, key=lambda candidate: abs(candidate - now))


def _word(online: bytes, offline: bytes) -> Callable[[bytes], Status | None]:
    words: dict[bytes, Status] = {online: "online", offline: "offline"}
    return lambda payload: words.get(payload.strip())
