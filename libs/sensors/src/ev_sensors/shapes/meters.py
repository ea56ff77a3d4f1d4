"""Energy meters that speak as Tasmota and Shelly do: signed power, in all and perhaps by phase, perhaps a counter.

Sources: Tasmota's documentation, "MQTT" and "Energy monitoring" (`tele/%topic%/SENSOR`, `LWT`); Shelly's API of its
second generation, "RPC over MQTT notifications" (`NotifyStatus` on `<prefix>/events/rpc`, and `<prefix>/online`), and
"Shelly Pro 3EM" and "Shelly Pro EM" (components `em:0`, or `em1:0` and so on in the profile monophase); Shelly's API of
its first generation, "Shelly 3EM: MQTT" (`shellies/<id>/emeter/<n>/power` [W], plain numbers).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ev_sensors.measurement import IgnoredMessage, Measurement, Reason, Refusal
from ev_sensors.phases import phase_values
from ev_sensors.shapes import Role, Shape, Status, ValueCollector
from ev_sensors.shapes.mapped import moment_of
from ev_sensors.shapes.native import why_wrong
from ev_service.errors import ConfigurationError

_W_PER_KW = 1000.0


class _ShellyMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Energy(_ShellyMessage):
    power_w: float | list[float] = Field(alias="Power")
    current_a: float | list[float] | None = Field(default=None, alias="Current")
    voltage_v: float | list[float] | None = Field(default=None, alias="Voltage")
    total_kwh: float | list[float] | None = Field(default=None, alias="Total")


class _Sensor(_ShellyMessage):
    time: str = Field(alias="Time")
    energy: _Energy = Field(alias="ENERGY")


class _Power(_ShellyMessage):
    total_act_power: float | None = None
    apower: float | None = None
    act_power: float | None = None
    current: float | None = None
    voltage: float | None = None
    a_act_power: float | None = None
    b_act_power: float | None = None
    c_act_power: float | None = None
    a_current: float | None = None
    b_current: float | None = None
    c_current: float | None = None
    a_voltage: float | None = None
    b_voltage: float | None = None
    c_voltage: float | None = None

    @property
    def phases_w(self) -> tuple[float | None, ...]:
        """Active power of the three phases [W]."""
        return self.a_act_power, self.b_act_power, self.c_act_power

    @property
    def power_w(self) -> float | None:
        """Active power in all [W], else the sum of the three phases; None where neither is present."""
        known = [power for power in self.phases_w if power is not None]
        total = self.total_act_power if self.total_act_power is not None else self.apower
        return sum(known) if total is None and len(known) == len(self.phases_w) else total

    def phases(self, factor: float) -> dict[str, float]:
        """Values of each phase."""
        return phase_values(
            current_a=(self.a_current, self.b_current, self.c_current),
            power_w=self.phases_w,
            voltage_v=(self.a_voltage, self.b_voltage, self.c_voltage),
            factor=factor,
        )


class _Counter(_ShellyMessage):
    total_act: float | None = None


_MOST_CHANNELS = 6


class _Params(_ShellyMessage):
    # The parts of a device that measures single phases apart, em1:0 and so on, are extra fields.
    model_config = ConfigDict(extra="allow")

    ts: float = Field(gt=0, lt=2**36)
    em: _Power | None = Field(default=None, alias="em:0")
    em_data: _Counter | None = Field(default=None, alias="emdata:0")
    pm: _Power | None = Field(default=None, alias="pm1:0")
    switch: _Power | None = Field(default=None, alias="switch:0")

    def channels(self) -> dict[int, _Power]:
        """Values of single channels, by their number.

        Raises:
            ValidationError: not in the form of Shelly.
        """
        told = self.model_extra or {}
        names = {channel: f"em1:{channel}" for channel in range(_MOST_CHANNELS)}
        return {channel: _Power.model_validate(told[name]) for channel, name in names.items() if name in told}

    def parts(self) -> str:
        """Names of the parts that the message is about, for people."""
        fields = type(self).model_fields
        aliases = (fields[name].alias if name in fields else name for name in sorted(self.model_fields_set - {"ts"}))
        return ", ".join([alias for alias in aliases if alias][:_MOST_CHANNELS])[:80] or "it"


class _Notification(_ShellyMessage):
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
    _demand_meter(role)

    def parse(payload: bytes, now: datetime) -> Measurement | Refusal:
        try:
            said = _Sensor.model_validate_json(payload)
            moment = moment_of(said.time, zone, now)
        except ValidationError as error:
            return Refusal(Reason.SCHEMA, why_wrong(error))
        except (ValueError, OverflowError):
            return Refusal(Reason.SCHEMA, "Time: not a time of ISO 8601")
        total_kwh = said.energy.total_kwh
        energy_kwh = None if total_kwh is None else _sum(total_kwh)
        values = _values(role, _sum(said.energy.power_w), factor, _tasmota_phases(said.energy, factor))
        return Measurement(moment, values, energy_kwh=energy_kwh)

    return Shape(f"{base}/SENSOR", f"{base}/LWT", parse, _word(b"Online", b"Offline"))


def shelly_shape(role: Role, base: str, *, factor: float, phases: int = 3, channels: Sequence[int] = ()) -> Shape:
    """A Shelly meter of the second generation or later, which sends all its components on one topic.

    Args:
        role: what it measures.
        base: the device's own topic prefix.
        factor: its power is multiplied by it; -1 turns the sign.
        phases: of the site.
        channels: numbers of the parts `em1:n` that count, in the order of the phases; none: all that it sends.
    """
    _demand_meter(role)
    single = _Channels(role, factor, phases, channels)

    def parse(payload: bytes, _: datetime) -> Measurement | Refusal | IgnoredMessage:
        try:
            said = _Notification.model_validate_json(payload)
            channels = said.params.channels()
        except ValidationError as error:
            return Refusal(Reason.SCHEMA, why_wrong(error))
        if said.method not in ("NotifyStatus", "NotifyFullStatus"):
            return IgnoredMessage("another method than NotifyStatus")
        part, moment = _measuring(said.params), datetime.fromtimestamp(said.params.ts, UTC)
        if part is None or part.power_w is None:
            return single.add(channels, moment) if channels else IgnoredMessage(f"no power in {said.params.parts()}")
        counter = said.params.em_data
        wh = None if counter is None else counter.total_act
        values = _values(role, part.power_w, factor, part.phases(factor))
        return Measurement(moment, values, energy_kwh=None if wh is None else wh / _W_PER_KW)

    return Shape(f"{base}/events/rpc", f"{base}/online", parse, _word(b"true", b"false"), mixed=8)


def shelly_gen1_shape(role: Role, base: str, *, factor: float, phases: int = 3, channels: Sequence[int] = ()) -> Shape:
    """A Shelly meter of the first generation: one topic for each channel, a plain number of watts, without a time.

    Args:
        role: what it measures.
        base: topic without its last words, `shellies/{device}`.
        factor: its power is multiplied by it; -1 turns the sign.
        phases: of the site.
        channels: numbers of the channels that count, in the order of the phases; none: all that it sends.
    """
    _demand_meter(role)
    single = _Channels(role, factor, phases, channels)

    def parse(channel: int, payload: bytes, now: datetime) -> Measurement | Refusal | IgnoredMessage:
        try:
            power = _Power(act_power=float(payload.decode("ascii")))
        except ValueError:
            return Refusal(Reason.SCHEMA, "message: not a number of watts")
        return single.add({channel: power}, now)

    parses = {f"{base}/emeter/{channel}/power": partial(parse, channel) for channel in channels or range(3)}
    (first, parse_first), *more = parses.items()
    return Shape(first, f"{base}/online", parse_first, _word(b"true", b"false"), more=dict(more), is_timed=False)


class _Channels:
    """Channels that each measure one phase, as one meter."""

    def __init__(self, role: Role, factor: float, phases: int, channels: Sequence[int]) -> None:
        self._role: Role = role
        self._factor, self._phases, self._channels = factor, phases, channels
        self._rounds = ValueCollector([str(channel) for channel in channels], is_open=not channels)
        self._newest: dict[int, _Power] = {}

    def add(self, told: Mapping[int, _Power], moment: datetime) -> Measurement | IgnoredMessage:
        """Add the channels of one message."""
        powers_w = {
            channel: power.act_power
            for channel, power in told.items()
            if power.act_power is not None and (not self._channels or channel in self._channels)
        }
        if not powers_w:
            return IgnoredMessage(f"no act_power of channel {', '.join(map(str, self._channels)) or '0'}")
        self._newest |= {channel: told[channel] for channel in powers_w}
        whole = self._rounds.add({str(channel): power_w for channel, power_w in powers_w.items()}, moment)
        if whole is None:
            awaited = self._rounds.list_missing()
            return IgnoredMessage(
                f"channel {', '.join(awaited)} still awaited" if awaited else "more channels may follow"
            )
        powers, oldest = whole
        order = self._channels or sorted(map(int, powers))
        ordered = [self._newest[channel] for channel in order]
        # More channels than phases are no phases.
        phases = (
            {}
            if len(order) > self._phases
            else phase_values(
                current_a=[power.current for power in ordered],
                power_w=[power.act_power for power in ordered],
                voltage_v=[power.voltage for power in ordered],
                factor=self._factor,
            )
        )
        return Measurement(oldest, _values(self._role, sum(powers.values()), self._factor, phases))


def _demand_meter(role: Role) -> None:
    if role == "battery":
        raise ConfigurationError("a meter cannot say how full a battery is: choose another MQTT shape for it")


def _values(role: Role, power_w: float, factor: float, phases: Mapping[str, float]) -> dict[str, float]:
    """A meter's power [W], positive as the site draws it, and what it says of the phases, in the words of a role."""
    power_kw = power_w * factor / _W_PER_KW
    if role == "solar":
        return {"generation_kw": power_kw}
    return {"load_kw": max(power_kw, 0.0), "export_kw": max(-power_kw, 0.0), **phases}


def _measuring(params: _Params) -> _Power | None:
    """Whichever part measures power; None where the notification is about something else."""
    parts = (params.em, params.pm, params.switch)
    return next((part for part in parts if part is not None and part.power_w is not None), None)


def _tasmota_phases(energy: _Energy, factor: float) -> dict[str, float]:
    """What is told of each phase; of a single voltage or a single current nobody knows the phase."""
    power_w, current_a, voltage_v = (
        told if isinstance(told, list) else () for told in (energy.power_w, energy.current_a, energy.voltage_v)
    )
    return phase_values(current_a=current_a, power_w=power_w, voltage_v=voltage_v, factor=factor)


def _sum(value: float | list[float]) -> float:
    return sum(value) if isinstance(value, list) else value


def _word(online: bytes, offline: bytes) -> Callable[[bytes], Status | None]:
    words: dict[bytes, Status] = {online: "online", offline: "offline"}
    return lambda payload: words.get(payload.strip())
