"""SunSpec register maps: what registers say, what they do not, and which maps are none."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sunspec_device import ABSENT, battery, block, float_inverter, inverter, meter, nameplate, words

from ev_sensors.measurement import Measurement, Reason, Refusal
from ev_sensors.sunspec import Block, RegisterMapError, block_at, points_of, string_reads
from ev_sensors.sunspec_roles import Selection, SunSpecPoints, get_rated_kw, plan_for, to_measurement

if TYPE_CHECKING:
    from ev_sensors.shapes import Role

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
SCALES = st.integers(-10, 10)
WORDS = st.integers(0, 0xFFFE)


def read(registers: list[int]) -> dict[str, float]:
    return points_of(Block(registers[0], 40_070, registers[1]), registers)


def parse_models(
    role: Role, *blocks: list[int], factor: float = 1.0, rating_kw: float | None = None
) -> Measurement | Refusal:
    models = {registers[0]: read(registers) for registers in blocks}
    return to_measurement(role, SunSpecPoints(models, NOON, 1, factor, rating_kw))


def values(role: Role, *blocks: list[int], factor: float = 1.0) -> dict[str, float]:
    judged = parse_models(role, *blocks, factor=factor)
    assert isinstance(judged, Measurement), judged
    return dict(judged.values)


def why_not(role: Role, *blocks: list[int], rating_kw: float | None = None) -> tuple[Reason, str]:
    judged = parse_models(role, *blocks, rating_kw=rating_kw)
    assert isinstance(judged, Refusal), judged
    return judged.reason, judged.detail


@given(watts=st.integers(-0x7FFF, 0x7FFF), scale=SCALES, model=st.sampled_from([101, 102, 103]))
def test_a_whole_number_is_read_with_its_scale_factor(watts: int, scale: int, model: int) -> None:
    assert read(inverter(watts, scale, model=model))["W"] == pytest.approx(watts * 10.0**scale, rel=1e-12)


@given(watts=st.floats(width=32, allow_nan=False, allow_infinity=False), model=st.sampled_from([111, 112, 113]))
def test_a_floating_point_number_is_read_as_it_is(watts: float, model: int) -> None:
    assert read(float_inverter(watts, model=model))["W"] == watts


@given(wh=st.integers(1, 0xFFFF_FFFF))
def test_an_energy_counter_is_read_over_two_registers(wh: int) -> None:
    assert read(inverter(wh=wh))["WH"] == wh


@given(
    soc=st.integers(0, 0xFFFE), watts=st.integers(-0x7FFF, 0x7FFF), wh=st.integers(0, 0xFFFE), beat=st.integers(0, 9)
)
def test_a_battery_is_read_with_a_scale_factor_for_each_of_its_values(soc: int, watts: int, wh: int, beat: int) -> None:
    points = read(battery(soc, watts=watts, wh=wh, beat=beat))

    assert points == pytest.approx({"SoC": soc / 10, "W": watts * 100.0, "WHRtg": wh * 100.0, "Hb": beat})


@given(registers=st.lists(st.integers(0, 0xFFFF), min_size=50, max_size=50), scale=SCALES)
def test_whatever_stands_there_a_value_is_a_finite_number(registers: list[int], scale: int) -> None:
    # Scale factors behind the power and behind the energy.
    registers[13], registers[24] = words("h", scale)[0], words("h", scale)[0]

    assert all(math.isfinite(value) for value in read([103, 50, *registers]).values())


@given(registers=st.lists(st.integers(0, 0xFFFF), min_size=60, max_size=60))
def test_whatever_floating_point_stands_there_a_value_is_a_finite_number_or_refused(registers: list[int]) -> None:
    with suppress(ValueError):
        assert all(math.isfinite(value) for value in read([113, 60, *registers]).values())


@pytest.mark.parametrize(
    ("registers", "missing"),
    [
        (inverter(-0x8000), "W"),
        (inverter(wh=0), "WH"),
        (inverter(state=0xFFFF), "St"),
        (float_inverter(math.nan), "W"),
        (block(113, 60, {22: [0xFFFF, 0xFFFF]}), "W"),
        (battery(0xFFFF), "SoC"),
        (battery(watts=-0x8000), "W"),
        (battery(wh=0xFFFF), "WHRtg"),
        (battery(beat=0xFFFF), "Hb"),
        (nameplate(0xFFFF), "WRtg"),
        (meter(-0x8000), "W"),
    ],
)
def test_a_point_that_a_device_does_not_implement_is_no_number(registers: list[int], missing: str) -> None:
    assert missing not in read(registers)


def test_the_value_before_not_implemented_is_a_number() -> None:
    assert read(inverter(-0x7FFF, 0))["W"] == -32_767
    assert read(battery(0xFFFE))["SoC"] == 6553.4


@pytest.mark.parametrize("scale", [-0x8000, -11, 11, 100, 0x7FFF])
def test_an_absurd_scale_factor_makes_no_number(scale: int) -> None:
    with pytest.raises(ValueError, match=f"W has the scale factor {scale}, which is none"):
        read(inverter(4100, scale))
    with pytest.raises(ValueError, match=f"SoC has the scale factor {scale}"):
        read(battery(soc_scale=scale))


def test_infinity_is_no_power() -> None:
    with pytest.raises(ValueError, match="W is no finite number"):
        read(float_inverter(math.inf))


def test_a_block_that_became_another_one_is_not_read() -> None:
    with pytest.raises(RegisterMapError, match="at 40070 there is no model 103 any more"):
        points_of(Block(103, 40_070, 50), inverter(model=101))


@pytest.mark.parametrize(
    ("role", "blocks", "told"),
    [
        ("solar", [inverter(4100, 1)], {"generation_kw": 41.0}),
        ("solar", [float_inverter(41_250.0)], {"generation_kw": 41.25}),
        ("solar", [block(701, 153, {10: words("h", 4100), 116: words("h", 1)})], {"generation_kw": 41.0}),
        ("battery", [battery(830)], {"soc_percent": 83.0, "active_power_kw": 12.5, "capacity_kwh": 100.0}),
        ("battery", [battery(830, watts=-0x8000, wh=0xFFFF)], {"soc_percent": 83.0}),
        ("battery", [block(713, 7, {4: words("H", 83), 8: [0]})], {"soc_percent": 83.0}),
        ("grid", [meter(6100, 1)], {"load_kw": 61.0, "export_kw": 0.0}),
        ("grid", [meter(-610, 1)], {"load_kw": 0.0, "export_kw": 6.1}),
    ],
)
def test_points_become_values_in_our_words_and_units(
    role: Role, blocks: list[list[int]], told: dict[str, float]
) -> None:
    assert values(role, *blocks) == told


def test_a_meter_tells_of_its_phases_what_it_implements() -> None:
    told = values("grid", meter(610, amperes=[212, 190, 71], ampere_scale=-1, watts_by_phase=[480, -437, ABSENT]))

    assert told == {
        "load_kw": 6.1,
        "export_kw": 0.0,
        "magnitude_l1_a": 21.2,
        "magnitude_l2_a": 19.0,
        "magnitude_l3_a": 7.1,
        "power_l1_kw": 4.8,
        "power_l2_kw": -4.37,
    }


def test_a_scale_of_the_phases_that_is_none_leaves_the_total() -> None:
    assert values("grid", meter(610, amperes=[21, 19, 7], ampere_scale=99)) == {"load_kw": 6.1, "export_kw": 0.0}


def test_a_newer_battery_tells_its_power_in_the_model_beside() -> None:
    capacity = block(713, 7, {4: words("H", 8300), 8: words("h", -2)})
    power = block(701, 153, {10: words("h", 125), 116: words("h", 2)})

    assert values("battery", capacity, power) == {"soc_percent": 83.0, "active_power_kw": -12.5}


def test_a_factor_turns_the_sign_of_power_and_leaves_the_charge() -> None:
    assert values("battery", battery(), factor=-1.0)["active_power_kw"] == -12.5
    assert values("grid", meter(610), factor=-1.0) == {"load_kw": 0.0, "export_kw": 6.1}
    assert math.copysign(1, values("solar", inverter(0), factor=-1.0)["generation_kw"]) == 1


def test_energy_of_an_inverter_is_its_counter() -> None:
    judged = parse_models("solar", inverter(wh=1_234_500))

    assert isinstance(judged, Measurement)
    assert judged.energy_kwh == 1234.5


@pytest.mark.parametrize(
    ("role", "blocks", "detail"),
    [
        ("solar", [inverter(-0x8000)], "W is not implemented by the device"),
        ("battery", [battery(0xFFFF)], "SoC is not implemented by the device"),
        ("grid", [meter(-0x8000)], "W is not implemented by the device"),
    ],
)
def test_without_the_point_that_its_role_needs_there_is_no_measurement(
    role: Role, blocks: list[list[int]], detail: str
) -> None:
    assert why_not(role, *blocks) == (Reason.SCHEMA, detail)


@pytest.mark.parametrize(("state", "word"), [(1, "off"), (2, "sleeping")])
def test_an_inverter_that_sleeps_gives_nothing(state: int, word: str) -> None:
    assert why_not("solar", inverter(state=state)) == (Reason.IMPLAUSIBLE, f"the inverter is {word} and gives 41 kW")
    assert values("solar", inverter(0, state=state)) == {"generation_kw": 0.0}


@pytest.mark.parametrize(
    "asleep",
    [
        inverter(ABSENT, state=1),
        inverter(ABSENT, state=2),
        inverter(ABSENT, ABSENT, state=2),
        inverter(ABSENT, state=8),
        float_inverter(math.nan, state=2),
        block(701, 153, {4: [0]} | {10: words("h", ABSENT)}),
        block(701, 153, {4: [1]} | {10: words("h", ABSENT)}),
    ],
)
def test_an_inverter_that_sleeps_and_leaves_its_power_out_gives_nothing(asleep: list[int]) -> None:
    assert values("solar", asleep) == {"generation_kw": 0.0}


@pytest.mark.parametrize("state", [3, 4, 7, 0xFFFF])
def test_an_inverter_that_is_awake_and_leaves_its_power_out_tells_nothing(state: int) -> None:
    assert why_not("solar", inverter(ABSENT, state=state))[0] is Reason.SCHEMA


def test_a_counter_without_a_scale_factor_leaves_the_power() -> None:
    registers = inverter(wh=500)
    registers[26] = 0x8000

    assert values("solar", registers) == {"generation_kw": 41.0}


def test_power_far_above_the_nameplate_is_refused() -> None:
    rating_kw = get_rated_kw(read(nameplate(3000)))

    assert rating_kw == 30.0
    assert why_not("solar", inverter(), rating_kw=rating_kw) == (
        Reason.RANGE,
        "41 kW is too much for the 30 kW of the nameplate",
    )
    assert isinstance(parse_models("solar", inverter(3500), rating_kw=rating_kw), Measurement)
    assert get_rated_kw(read(nameplate(0xFFFF))) is None


def test_models_702_and_120_both_hold_the_rating() -> None:
    newer = block(702, 50, {2: words("H", 5000), 45: words("h", 1)})

    assert get_rated_kw(read(newer)) == get_rated_kw(read(nameplate(5000))) == 50.0


def test_a_map_ends_where_it_says_and_begins_with_the_common_model() -> None:
    common = Block(1, 40_002, 66)

    assert block_at(40_002, [1, 66], []) == common
    assert common.end == 40_070
    assert block_at(40_070, [0xFFFF, 0], [common]) is None
    assert block_at(40_070, [0xFFFF, 0xFFFF], [common]) is None


@pytest.mark.parametrize(
    ("address", "head", "before", "why"),
    [
        (40_002, [103, 50], 0, "begins with model 103, not with the common model 1"),
        (40_002, [0xFFFF, 0], 0, "begins with model 65535"),
        (65_500, [103, 50], 1, "model 103 at 65500 cannot be 50 registers long"),
        (40_070, [0, 0], 1, "model 0 at 40070 cannot be 0 registers long"),
        (50_000, [64_001, 1], 100, "no end after 100 models"),
    ],
)
def test_a_chain_that_leads_nowhere_is_not_followed(address: int, head: list[int], before: int, why: str) -> None:
    with pytest.raises(RegisterMapError, match=why):
        block_at(address, head, [Block(1, 40_002, 66)] * before)


def test_the_best_model_of_a_device_is_read_and_its_nameplate_once() -> None:
    blocks = [Block(1, 40_002, 66), Block(101, 40_070, 50), Block(120, 40_122, 26), Block(103, 40_150, 50)]

    plan = plan_for("solar", blocks)

    assert [block.model for block in plan.polled] == [103]
    assert plan.nameplate == blocks[2]


def test_a_block_that_is_too_short_counts_as_not_there() -> None:
    plan = plan_for("solar", [Block(1, 2, 66), Block(103, 70, 10), Block(120, 82, 1), Block(113, 86, 60)])

    assert [block.model for block in plan.polled] == [113]
    assert plan.nameplate is None


def test_a_meter_has_no_nameplate() -> None:
    assert plan_for("grid", [Block(1, 2, 66), Block(120, 70, 26), Block(203, 98, 105)]).nameplate is None


@pytest.mark.parametrize(
    ("role", "blocks", "why"),
    [
        ("solar", [Block(203, 70, 105)], "none of the models 103, 102, 101, 113, 112, 111, 701, only 203"),
        ("battery", [Block(103, 70, 50)], "none of the models 802, 713, only 103"),
        ("battery", [Block(802, 70, 20)], "model 802 is 20 registers long, at least 62 are needed"),
    ],
)
def test_a_device_without_what_its_role_needs_is_not_asked(role: Role, blocks: list[Block], why: str) -> None:
    with pytest.raises(RegisterMapError, match=why):
        plan_for(role, blocks)


def test_no_question_asks_for_more_registers_than_one_answer_holds() -> None:
    roles: tuple[Role, ...] = ("solar", "battery", "grid")
    models = (101, 102, 103, 111, 112, 113, 120, 201, 202, 203, 204, 701, 702, 713, 802)

    for role in roles:
        plan = plan_for(role, [Block(model, 1000, 200) for model in models], Selection(meter=3))
        assert max(block.span for block in (*plan.polled, *([plan.nameplate] if plan.nameplate else []))) <= 125


@pytest.mark.parametrize("count", [1, 5, 6, 7, 30])
def test_strings_are_read_whole_and_in_answers_that_are_not_too_long(count: int) -> None:
    reads = string_reads(Block(160, 1000, 8 + 20 * count))

    assert [start for start, _ in reads[1:]] == [start + size for start, size in reads[:-1]]
    assert all(size <= 125 and size % 20 == 0 for _, size in reads[1:])
    assert sum(size for _, size in reads) == 10 + 20 * count


METER = Block(203, 1000, 105)
SECOND = Block(203, 2000, 105)


@pytest.mark.parametrize(
    ("blocks", "selection", "labels", "why"),
    [
        ([METER, SECOND], Selection(), {1000: "Export+Import"}, r"which meter .* 1 is model 203 at 1000 \(Export"),
        ([METER], Selection(), {1000: "RGM Production"}, "which meter stands at the connection is not set"),
        ([METER], Selection(meter=2), {}, "it has no meter 2: 1 is model 203 at 1000"),
        ([Block(203, 1000, 9), SECOND], Selection(meter=1), {}, "model 203 is 9 registers long"),
    ],
)
def test_a_meter_that_may_be_another_one_is_not_read(
    blocks: list[Block], selection: Selection, labels: dict[int, str], why: str
) -> None:
    with pytest.raises(RegisterMapError, match=why):
        plan_for("grid", blocks, selection, labels)


def test_the_meter_that_is_set_is_read() -> None:
    blocks, labels = [METER, SECOND, Block(201, 3000, 105)], {1000: "Production", 2000: "Export+Import"}

    for number, wanted in enumerate(blocks, 1):
        assert plan_for("grid", blocks, Selection(meter=number), labels).polled == (wanted,)
    assert plan_for("grid", [METER], Selection(), {1000: "WND-3Y-400 Export+Import"}).polled == (METER,)


INVERTER, NAMEPLATE, STRINGS, STORAGE = (
    Block(103, 70, 50),
    Block(120, 122, 26),
    Block(160, 150, 88),
    Block(124, 240, 24),
)


@pytest.mark.parametrize(
    ("blocks", "selection", "power", "warns"),
    [
        ([INVERTER, STRINGS], Selection(), "ac", False),
        ([INVERTER, NAMEPLATE, STRINGS, STORAGE], Selection(), "strings", True),
        ([INVERTER, STORAGE], Selection(), "dc", True),
        ([INVERTER, Block(802, 300, 62)], Selection(), "dc", True),
        ([INVERTER, STRINGS, STORAGE], Selection(strings=frozenset({1})), "strings", False),
        ([INVERTER, STORAGE], Selection(power="ac"), "ac", True),
        ([INVERTER, STRINGS], Selection(power="dc"), "dc", False),
    ],
)
def test_where_the_suns_power_is_taken_from(
    blocks: list[Block], selection: Selection, power: str, *, warns: bool
) -> None:
    plan = plan_for("solar", blocks, selection)

    assert (plan.power, plan.warning is not None) == (power, warns)
    assert plan.strings == (STRINGS if power == "strings" else None)
    assert plan.nameplate is None


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        (Selection(power="strings"), "it has no model 160"),
        (Selection(strings=frozenset({5})), "it has no string 5, only 4"),
    ],
)
def test_strings_that_are_not_there_are_told(selection: Selection, why: str) -> None:
    blocks = [INVERTER] if selection.power == "strings" else [INVERTER, STRINGS]
    with pytest.raises(RegisterMapError, match=why):
        plan_for("solar", blocks, selection)
