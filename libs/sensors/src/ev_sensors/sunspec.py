"""SunSpec register maps: where the points stand and what their registers say.

Registers go in; numbers in W, Wh, A, V and %, or a reason, come out.
Source: SunSpec Device Information Model Specification, and the models by their numbers. Offsets count registers from
the one that holds the model's number.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

MARKER = (0x5375, 0x6E53)
"""`SunS`, the two registers that every map begins with."""

BASES = (40_000, 50_000, 0)
"""Where a map may begin."""

COMMON = 1
"""The model that comes first in every map: who made the device."""

METERS = (201, 202, 203, 204)
"""Meters with whole numbers: one phase, split phase, three phases with and without neutral."""

STRINGS = 160
"""What an inverter draws from each of its DC inputs."""

LONGEST_READ = 125
"""Registers of one answer at most (Modbus Application Protocol, section 6.3)."""

END = (0xFFFF, 0)
"""The head that every map ends with."""

_MOST_BLOCKS = 100
_ADDRESSES = 0x1_0000
_NO_SCALE = -0x8000
_SCALES = range(-10, 11)


class RegisterMapError(Exception):
    """What stands at these addresses is not the map that is needed; says why in one sentence."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How a point is written: its struct code, and what stands there where a device has no such point."""

    code: str
    is_absent: Callable[[float], bool]

    @property
    def size(self) -> int:
        return struct.calcsize(f">{self.code}") // 2


class Kind(Enum):
    """Types of points that are read here."""

    INT16 = _Form("h", lambda number: number == -0x8000)
    UINT16 = _Form("H", lambda number: number == 0xFFFF)
    ACC32 = _Form("I", lambda number: number == 0)
    FLOAT32 = _Form("f", math.isnan)

    def number(self, registers: Sequence[int]) -> float | None:
        """What the registers of one point say, not scaled yet; None where the device does not implement it.

        >>> Kind.INT16.number([0xFFFE]), Kind.INT16.number([0x8000])
        (-2, None)
        """
        (number,) = struct.unpack(f">{self.value.code}", struct.pack(f">{len(registers)}H", *registers))
        return None if self.value.is_absent(number) else number


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a model: offset of its first register, type, and offset of its scale factor if it has one."""

    offset: int
    kind: Kind
    scale: int | None = None
    is_needed: bool = True
    """Whether a scale factor that is none spoils the whole answer; else the point counts as not implemented."""

    @property
    def end(self) -> int:
        """Offset behind all that it needs."""
        return max(self.offset + self.kind.value.size, 1 + (self.scale or 0))


_INVERTER = {
    "W": Point(14, Kind.INT16, 15),
    "WH": Point(24, Kind.ACC32, 26, is_needed=False),
    "DCW": Point(31, Kind.INT16, 32, is_needed=False),
    "St": Point(38, Kind.UINT16),
}
_INVERTER_FLOAT = {
    "W": Point(22, Kind.FLOAT32),
    "WH": Point(32, Kind.FLOAT32),
    "DCW": Point(38, Kind.FLOAT32),
    "St": Point(48, Kind.UINT16),
}
_METER = {"W": Point(18, Kind.INT16, 22)} | {
    f"{name}{phase}": Point(first + number, Kind.INT16, scale, is_needed=False)
    for name, first, scale in (("Aph", 3, 6), ("PhVph", 8, 15), ("Wph", 19, 22))
    for number, phase in enumerate("ABC")
}

MODELS: Mapping[int, Mapping[str, Point]] = {
    **dict.fromkeys((101, 102, 103), _INVERTER),
    **dict.fromkeys((111, 112, 113), _INVERTER_FLOAT),
    120: {"WRtg": Point(3, Kind.UINT16, 4)},
    **dict.fromkeys(METERS, _METER),
    701: {"InvSt": Point(4, Kind.UINT16), "W": Point(10, Kind.INT16, 116)},
    702: {"WRtg": Point(2, Kind.UINT16, 45)},
    713: {"WHRtg": Point(2, Kind.UINT16, 7, is_needed=False), "SoC": Point(4, Kind.UINT16, 8)},
    802: {
        "WHRtg": Point(3, Kind.UINT16, 53, is_needed=False),
        "SoC": Point(11, Kind.UINT16, 56),
        "Hb": Point(18, Kind.UINT16),
        "W": Point(47, Kind.INT16, 63),
    },
}
"""The points that are read, by the numbers of their models. In 702 the rating is called WMaxRtg."""


@dataclass(frozen=True, slots=True)
class Block:
    """One model in a map: its number, the address that holds it, and how many registers follow the two of its head."""

    model: int
    address: int
    length: int

    @property
    def end(self) -> int:
        """Address of the next block."""
        return self.address + 2 + self.length

    @property
    def span(self) -> int:
        """How many registers to read, head included, for all points of interest."""
        return max(point.end for point in MODELS[self.model].values())

    @property
    def is_whole(self) -> bool:
        """Whether it is one that is read here, and long enough for all points of interest."""
        return self.model in MODELS and self.length + 2 >= self.span


def block_at(address: int, head: Sequence[int], before: Sequence[Block]) -> Block | None:
    """The block that begins at an address, or None where the map ends.

    Args:
        address: of the head.
        head: its two registers.
        before: the blocks before it.

    Raises:
        RegisterMapError: there is none that may stand there.
    """
    model, length = head
    if model == END[0] and before:
        return None
    if not before and model != COMMON:
        raise RegisterMapError(f"its map begins with model {model}, not with the common model {COMMON}")
    block = Block(model, address, length)
    # A model without registers is of no use but blocks nobody; model 0 is none, the map has ended without saying so.
    if model == 0 or block.end + 1 > _ADDRESSES:
        raise RegisterMapError(f"model {model} at {address} cannot be {length} registers long")
    if len(before) >= _MOST_BLOCKS:
        raise RegisterMapError(f"its map has no end after {_MOST_BLOCKS} models")
    return block


def points_of(block: Block, registers: Sequence[int]) -> dict[str, float]:
    """The points of a block that the device implements, in W, Wh, A, V and %; counts and states as they are.

    Args:
        block: what was read.
        registers: the first of it, head included, at least `span` of them.

    Raises:
        RegisterMapError: the header changed.
        ValueError: a scale factor or a number is none.
    """
    if tuple(registers[:2]) != (block.model, block.length):
        raise RegisterMapError(f"at {block.address} there is no model {block.model} any more")
    points = {name: _value(name, point, registers) for name, point in MODELS[block.model].items()}
    return {name: value for name, value in points.items() if value is not None}


LABEL_SPAN = 42
"""Registers of the common model, head included, that hold what `label_of` reads."""


def label_of(registers: Sequence[int]) -> str:
    """Model and options (`Md`, `Opt`) of a common model: what a maker calls the part of a device that follows it."""
    return " ".join(filter(None, (_text(registers[18:34]), _text(registers[34:42]))))


def _text(registers: Sequence[int]) -> str:
    text = struct.pack(f">{len(registers)}H", *registers).split(b"\0")[0].decode("ascii", "ignore")
    return "".join(filter(str.isprintable, text)).strip()


@dataclass(frozen=True, slots=True)
class DcString:
    """One DC input of an inverter, as model 160 lists them."""

    number: int
    """Its place in the list, from 1."""

    label: str
    """`IDStr`."""

    power_w: float | None
    """From the input [W]; None where it is not told."""


_STRINGS_HEAD, _STRING_SPAN = 10, 20
_STRING_POWER, _STRINGS_SCALE = Point(11, Kind.UINT16), Point(4, Kind.INT16)


def string_count(block: Block) -> int:
    """How many DC inputs model 160 has room for."""
    return max(0, block.length + 2 - _STRINGS_HEAD) // _STRING_SPAN


def string_reads(block: Block) -> list[tuple[int, int]]:
    """Addresses and counts of registers to read for model 160: whole inputs, as a read must not part a point."""
    first = block.address + _STRINGS_HEAD
    end = first + _STRING_SPAN * string_count(block)
    most = LONGEST_READ // _STRING_SPAN * _STRING_SPAN
    parts = [(start, min(most, end - start)) for start in range(first, end, most)]
    return [(block.address, _STRINGS_HEAD), *parts]


def strings_of(block: Block, registers: Sequence[int]) -> list[DcString]:
    """The DC inputs of model 160.

    Args:
        block: what was read.
        registers: all that `string_reads` names.

    Raises:
        RegisterMapError: the header changed.
        ValueError: the scale factor is none.
    """
    if tuple(registers[:2]) != (block.model, block.length):
        raise RegisterMapError(f"at {block.address} there is no model {block.model} any more")
    factor = Kind.INT16.number(registers[_STRINGS_SCALE.offset : _STRINGS_SCALE.end])
    strings: list[DcString] = []
    for number in range(string_count(block)):
        start = _STRINGS_HEAD + number * _STRING_SPAN
        power = Kind.UINT16.number(registers[start + _STRING_POWER.offset : start + _STRING_POWER.end])
        if power is not None and (factor is None or factor not in _SCALES):
            raise ValueError(f"DCW of string {number + 1} has no scale factor")
        power_w = None if power is None or factor is None else scale(power, int(factor))
        strings.append(DcString(number + 1, _text(registers[start + 1 : start + 9]), power_w))
    return strings


def _value(name: str, point: Point, registers: Sequence[int]) -> float | None:
    number = point.kind.number(registers[point.offset : point.offset + point.kind.value.size])
    if number is not None and not math.isfinite(number):
        raise ValueError(f"{name} is no finite number")
    if number is None or point.scale is None:
        return number
    factor = Kind.INT16.number(registers[point.scale : point.scale + 1])
    if factor is None or factor not in _SCALES:
        if not point.is_needed:
            return None
        told = _NO_SCALE if factor is None else int(factor)
        raise ValueError(f"{name} has the scale factor {told}, which is none")
    return scale(number, int(factor))


def scale(number: float, factor: int) -> float:
    """A number times ten to the power of its scale factor.

    >>> scale(412, -1), scale(412, 2)
    (41.2, 41200.0)
    """
    # Divided, not multiplied by a power below 1: 412 / 10 is exact where 412 * 0.1 is not.
    return number * 10.0**factor if factor >= 0 else number / 10.0**-factor
