"""Any device that writes JSON or plain numbers: settings say where each value stands, its unit and its sign.

One value is written `NAME=TOPIC#POINTER UNIT`, several with `;` between them; docs/sensors.md has the names. The
pointer is one of RFC 6901, and absent where the message is a plain number; `-` before the unit turns the sign.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import cast
from zoneinfo import ZoneInfo

from ev_sensors.measurement import IgnoredMessage, Measurement, Reason, Refusal
from ev_sensors.phases import phase_values
from ev_sensors.shapes import Role, Shape, Status, ValueCollector

_PHASES = (1, 2, 3)
_POWER, _CURRENT, _VOLTAGE = {"W": 1.0, "kW": 1000.0, "MW": 1e6}, {"A": 1.0, "mA": 0.001}, {"V": 1.0, "mV": 0.001}
_ENERGY = {"Wh": 0.001, "kWh": 1.0, "MWh": 1000.0}
_TIMES = {"s": 1.0, "ms": 1000.0}

_PHASE_POWERS = tuple(f"power_l{phase}" for phase in _PHASES)
_UNITS: Mapping[Role, Mapping[str, Mapping[str, float]]] = {
    "grid": {"power": _POWER, "load": _POWER, "export": _POWER}
    | {
        f"{name}_l{phase}": units
        for name, units in (("power", _POWER), ("current", _CURRENT), ("voltage", _VOLTAGE))
        for phase in _PHASES
    },
    "solar": {"power": _POWER, "energy": _ENERGY} | dict.fromkeys(_PHASE_POWERS, _POWER),
    "battery": {"soc": {"%": 1.0, "0..1": 100.0}, "power": _POWER},
}
"""By role and name: the units that are understood, each with its factor to W, A, V, kWh or %."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TOPIC = re.compile(r"[^+#\x00]{1,200}")
_POINTER = re.compile(r"(/([^~]|~[01])*)?")
_INDEX = re.compile(r"0|[1-9]\d*")
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp(), datetime(2200, 1, 1, tzinfo=UTC).timestamp()


class MappingError(ValueError):
    """A setting does not locate a value unambiguously; the message names what to write instead."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one thing stands: topic, the keys of the pointer, and the word behind them."""

    topic: str
    keys: tuple[str, ...]
    word: str

    def find(self, document: object) -> object:
        """What stands there; None where nothing does (RFC 6901, section 4)."""
        for key in self.keys:
            if isinstance(document, dict):
                document = cast("dict[str, object]", document).get(key)
            elif isinstance(document, list) and _INDEX.fullmatch(key):
                items = cast("list[object]", document)
                document = items[int(key)] if len(key) < 10 and int(key) < len(items) else None
            else:
                return None
        return document

    @property
    def pointer(self) -> str:
        """The pointer as it is written, `message` where it is the whole."""
        return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in self.keys) or "message"


@dataclass(frozen=True, slots=True)
class ValueMapping:
    """Location of every value that a device sends."""

    values: Mapping[str, Spot]
    """By name, with the unit as word."""

    time: Spot | None = None
    """Absent where values count as measured when they arrive; its topic is empty."""

    status: Spot | None = None
    """Its word is what stands there while the device is there and while it is not."""


def read_mapping(text: str, role: Role, phases: int) -> ValueMapping:
    """Parse the setting that locates the values.

    Args:
        text: `NAME=TOPIC#POINTER UNIT`, several with `;` between them.
        role: what the device measures.
        phases: of the site.

    Raises:
        MappingError: the text is invalid; the message names what to write.

    >>> read_mapping("power=tele/m/SENSOR#/SML/curr_w W", "grid", 3).values["power"].keys
    ('SML', 'curr_w')
    """
    spots: dict[str, Spot] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, place = (piece.strip() for piece in part.partition("="))
        known = (*_UNITS[role], "time", "status")
        if not equals or name not in known:
            raise MappingError(
                f"{part!r} must be NAME=TOPIC#/POINTER UNIT, such as power=tele/meter/SENSOR#/SML/curr_w W; "
                f"the names are {', '.join(known)}"
            )
        if name in spots:
            raise MappingError(f"{name} is there twice; name it once")
        spots[name] = _spot(name, place, role)
    time, status = spots.pop("time", None), spots.pop("status", None)
    _demand_enough(spots, role, phases)
    if status is not None and any(spot.topic == status.topic for spot in spots.values()):
        raise MappingError(f"status needs a topic of its own, and {status.topic} tells values")
    return ValueMapping(spots, time, status)


def _spot(name: str, place: str, role: Role) -> Spot:
    where, _, word = place.rpartition(" ")
    topic, _, pointer = where.strip().partition("#")
    if name == "time":
        if topic or not pointer or word not in ("iso", *_TIMES):
            raise MappingError(f"time={place} must be #/POINTER and iso, s or ms, such as time=#/Time iso")
    elif not _TOPIC.fullmatch(topic):
        raise MappingError(f"{name}={place} names no topic; write {name}=TOPIC#/POINTER UNIT, without + and #")
    elif name == "status":
        if len(set(word.split("/"))) != 2 or not all(word.split("/")):
            raise MappingError(f"status={place} must end with both words, such as status=tele/meter/LWT Online/Offline")
    elif word.removeprefix("-") not in _UNITS[role][name]:
        units = ", ".join(_UNITS[role][name])
        raise MappingError(f"{name}={place} must end with a unit: {units}, with - before it to turn the sign")
    if not _POINTER.fullmatch(pointer):
        raise MappingError(f"#{pointer} must begin with / and hold ~ only as ~0 and ~1 (RFC 6901)")
    keys = tuple(key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:])
    return Spot(topic, keys, word)


def _demand_enough(spots: Mapping[str, Spot], role: Role, phases: int) -> None:
    if role == "battery":
        if "soc" not in spots:
            raise MappingError("the state of charge is missing; write soc=TOPIC#/POINTER %")
        return
    totals = [names for names in (("power",), ("load", "export"), _PHASE_POWERS) if spots.keys() & set(names)]
    if not totals or ("export" in spots and "load" not in spots):
        wanted = "power=TOPIC#/POINTER W" + (", or load and export" if role == "grid" else "")
        raise MappingError(f"the power is missing; write {wanted}, or power_l1 and so on for each phase")
    if "power" in spots and "load" in spots:
        raise MappingError("power and load both tell the power; keep one")
    if role == "grid" and not spots.keys() & {"power", "load"} and not spots.keys() >= set(_PHASE_POWERS[:phases]):
        raise MappingError(f"the power of each phase is needed, power_l1 to power_l{phases}, or power of all")


def create_mapped_shape(role: Role, mapping: ValueMapping, *, factor: float, zone: ZoneInfo) -> Shape:
    """A device of which settings say where its values stand.

    Args:
        role: what it measures.
        mapping: where they stand.
        factor: power and current are multiplied by it; -1 turns the sign.
        zone: in which its clock runs where its times carry no offset.
    """
    reader = _Reader(role, mapping, factor, zone)
    topics = list(dict.fromkeys(spot.topic for spot in mapping.values.values()))
    parses = {topic: partial(reader.read, topic) for topic in topics}
    first = parses.pop(topics[0])
    status = None if mapping.status is None else mapping.status.topic
    # Several kinds of message may share a topic, and only some of them tell a value.
    return Shape(topics[0], status, first, reader.parse_status, mixed=8, more=parses, is_timed=mapping.time is not None)


class _Reader:
    """What the messages of one device say."""

    def __init__(self, role: Role, mapping: ValueMapping, factor: float, zone: ZoneInfo) -> None:
        self._role: Role = role
        self._mapping, self._factor, self._zone = mapping, factor, zone
        # Voltages only convert powers into currents, so a round does not wait for a device that sends them rarely.
        self._rounds = ValueCollector([name for name in mapping.values if not name.startswith("voltage")])
        self._voltages: dict[str, float] = {}

    def read(self, topic: str, payload: bytes, now: datetime) -> Measurement | Refusal | IgnoredMessage:
        """Return the measurement once all values of a round have arrived."""
        try:
            is_text = any(spot.topic == topic and not spot.keys for spot in self._mapping.values.values())
            document = _document(payload, is_text=is_text)
            values = dict[str, float]()
            for name, spot in self._mapping.values.items():
                if spot.topic == topic and (found := spot.find(document)) is not None:
                    values[name] = _scale(name, found, spot, self._role)
            moment = now if self._mapping.time is None or not values else self._moment(document, now)
        except ValueError as error:
            return Refusal(Reason.SCHEMA, str(error))
        if not values:
            pointers = (spot.pointer for spot in self._mapping.values.values() if spot.topic == topic)
            return IgnoredMessage(f"nothing at {', '.join(dict.fromkeys(pointers))}")
        self._voltages |= {name: value for name, value in values.items() if name.startswith("voltage")}
        told = {name: value for name, value in values.items() if name not in self._voltages}
        whole = self._rounds.add(told, moment) if told else None
        if whole is None:
            return IgnoredMessage(f"still awaited: {', '.join(self._rounds.list_missing())}")
        return self._measurement(*whole)

    def parse_status(self, payload: bytes) -> Status | None:
        """Read a birth message or last will."""
        if self._mapping.status is None:
            return None
        online, _, offline = self._mapping.status.word.partition("/")
        try:
            told = self._mapping.status.find(_document(payload, is_text=True))
        except ValueError:
            return None
        told = str(told).lower() if isinstance(told, bool) else str(told)
        return "online" if told == online else "offline" if told == offline else None

    def _moment(self, document: object, now: datetime) -> datetime:
        spot = self._mapping.time
        assert spot is not None
        found = spot.find(document)
        if found is None:
            raise ValueError(f"{spot.pointer}: no time is there")
        if spot.word != "iso":
            seconds = _number(found, spot) / _TIMES[spot.word]
            if not _EARLIEST <= seconds <= _LATEST:
                raise ValueError(f"{spot.pointer}: {seconds:g} s since 1970 is no time of now; is it in s or in ms?")
            return datetime.fromtimestamp(seconds, UTC)
        try:
            return moment_of(str(found), self._zone, now)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{spot.pointer}: not a time of ISO 8601") from error

    def _measurement(self, values: Mapping[str, float], moment: datetime) -> Measurement:
        powers_w = [values.get(name) for name in _PHASE_POWERS]
        power_w = values.get("power")
        if power_w is None and "load" in values:
            power_w = values["load"] - values.get("export", 0.0)
        elif power_w is None and any(power is not None for power in powers_w):
            power_w = sum(power for power in powers_w if power is not None)
        power_kw = None if power_w is None else power_w * self._factor / _POWER["kW"]
        if self._role == "battery":
            power = {} if power_kw is None else {"active_power_kw": power_kw}
            return Measurement(moment, {"soc_percent": values["soc"]} | power)
        assert power_kw is not None
        if self._role == "solar":
            return Measurement(moment, {"generation_kw": power_kw}, energy_kwh=values.get("energy"))
        phases = phase_values(
            current_a=[values.get(f"current_l{phase}") for phase in _PHASES],
            power_w=powers_w,
            voltage_v=[self._voltages.get(f"voltage_l{phase}") for phase in _PHASES],
            factor=self._factor,
        )
        return Measurement(moment, {"load_kw": max(power_kw, 0.0), "export_kw": max(-power_kw, 0.0)} | phases)


def moment_of(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """A time of ISO 8601, UTC.

    Args:
        text: with or without an offset.
        zone: time zone of timestamps without an offset.
        now: the run's time; of an hour that comes twice, the one that is nearer to it is meant.

    Raises:
        ValueError: it is none.
        OverflowError: it is outside of the years that there are.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    both = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(both, key=lambda candidate: abs(candidate - now))


def _document(payload: bytes, *, is_text: bool) -> object:
    """A message as JSON.

    Args:
        payload: of the message.
        is_text: whether it may be text that is no JSON, and then is taken as it is.

    Raises:
        ValueError: it is neither.
    """
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError("message: not UTF-8 text") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if is_text:
            return text
        raise ValueError("message: not JSON") from error


def _scale(name: str, found: object, spot: Spot, role: Role) -> float:
    units, unit = _UNITS[role][name], spot.word.removeprefix("-")
    number = _number(found, spot) * units[unit]
    return -number if spot.word.startswith("-") else number


def _number(found: object, spot: Spot) -> float:
    """A number, or a text that is one, as many gateways write them.

    Raises:
        ValueError: it is neither, or not finite.
    """
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number and not (isinstance(found, str) and _NUMBER.fullmatch(found.strip())):
        raise ValueError(f"{spot.pointer}: not a number")
    try:
        number = float(cast("float | str", found))
    except OverflowError as error:
        raise ValueError(f"{spot.pointer}: not a finite number") from error
    if not math.isfinite(number):
        raise ValueError(f"{spot.pointer}: not a finite number")
    return number
