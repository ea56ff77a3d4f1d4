"""Formats of public price sources: documents in the published shapes, whole, half, wrong and on days of 23 and 25 h.

Energy-Charts: api.energy-charts.info/openapi.json; aWATTar: awattar.de/services/api; Tibber: developer.tibber.com;
ENTSO-E: Transparency Platform RESTful API, 4.2.10.
"""

import csv
import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid_service.prices.entsoe import parse_entsoe
from grid_service.prices.formats import parse_awattar, parse_csv, parse_energy_charts, parse_own, parse_tibber
from grid_service.prices.table import PriceFormatError, PriceSlot, PriceTable

START = datetime(2026, 6, 20, 22, tzinfo=UTC)
HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
PARSERS: tuple[Callable[[bytes], PriceTable], ...] = (
    parse_own,
    parse_csv,
    parse_energy_charts,
    parse_awattar,
    parse_tibber,
    parse_entsoe,
)


def starts_of_day(day: date, timezone: str, step: timedelta = HOUR) -> list[datetime]:
    zone = ZoneInfo(timezone)
    first = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    after = day + timedelta(days=1)
    count = (datetime(after.year, after.month, after.day, tzinfo=zone).astimezone(UTC) - first) // step
    return [first + index * step for index in range(count)]


def energy_charts(starts: list[datetime], prices: list[float | None], unit: str = "EUR / MWh") -> bytes:
    seconds = [int(start.timestamp()) for start in starts]
    licence = "CC BY 4.0 (creativecommons.org/licenses/by/4.0) from Bundesnetzagentur | SMARD.de"
    answer = {"license_info": licence, "unix_seconds": seconds, "price": prices, "unit": unit, "deprecated": False}
    return json.dumps(answer).encode()


def awattar(starts: list[datetime], prices: list[float], unit: str = "Eur/MWh", step: timedelta = HOUR) -> bytes:
    data = [
        {
            "start_timestamp": int(start.timestamp() * 1000),
            "end_timestamp": int((start + step).timestamp() * 1000),
            "marketprice": price,
            "unit": unit,
        }
        for start, price in zip(starts, prices, strict=True)
    ]
    return json.dumps({"object": "list", "data": data, "url": "/at/v1/marketdata"}).encode()


def tibber(
    today: list[datetime], tomorrow: list[datetime], price: float = 0.21, timezone: str = "Europe/Berlin"
) -> bytes:
    def entries(starts: list[datetime]) -> list[object]:
        texts = [start.astimezone(ZoneInfo(timezone)).isoformat(timespec="milliseconds") for start in starts]
        values = {"total": round(price + 0.09, 4), "energy": price, "tax": 0.09, "currency": "EUR", "level": "NORMAL"}
        return [{"startsAt": text, **values} for text in texts]

    info = {"today": entries(today), "tomorrow": entries(tomorrow)}
    home = {"currentSubscription": {"priceInfo": info}}
    return json.dumps({"data": {"viewer": {"homes": [{"currentSubscription": None}, home]}}}).encode()


def series(
    start: datetime,
    end: datetime,
    points: dict[int, float],
    resolution: str = "PT60M",
    curve: str = "A03",
    head: str = "",
) -> str:
    told = "".join(
        f"<Point><position>{position}</position><price.amount>{price}</price.amount></Point>"
        for position, price in points.items()
    )
    return f"""
  <TimeSeries>
    <mRID>1</mRID>
    <auction.type>A01</auction.type>
    <businessType>A62</businessType>
    <in_Domain.mRID codingScheme="A01">10Y1001A1001A82H</in_Domain.mRID>
    <out_Domain.mRID codingScheme="A01">10Y1001A1001A82H</out_Domain.mRID>
    {head or "<contract_MarketAgreement.type>A01</contract_MarketAgreement.type>"}
    <currency_Unit.name>EUR</currency_Unit.name>
    <price_Measure_Unit.name>MWH</price_Measure_Unit.name>
    <curveType>{curve}</curveType>
    <Period>
      <timeInterval><start>{start:%Y-%m-%dT%H:%MZ}</start><end>{end:%Y-%m-%dT%H:%MZ}</end></timeInterval>
      <resolution>{resolution}</resolution>
      {told}
    </Period>
  </TimeSeries>"""


def entsoe(*all_series: str, kind: str = "A44") -> bytes:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3">
  <mRID>0b71a54a8d1c4d3f</mRID>
  <revisionNumber>1</revisionNumber>
  <type>{kind}</type>
  <sender_MarketParticipant.mRID codingScheme="A01">10X1001A1001A450</sender_MarketParticipant.mRID>
  <createdDateTime>2026-06-20T11:02:11Z</createdDateTime>{"".join(all_series)}
</Publication_MarketDocument>""".encode()


def prices_of(table: PriceTable) -> list[float]:
    return [round(slot.parts["energy"], 6) for slot in table.slots]


def test_energy_charts_gives_quarters_and_leaves_out_what_it_does_not_know() -> None:
    starts = [START + index * QUARTER for index in range(4)]
    table = parse_energy_charts(energy_charts(starts, [85.12, None, -3.5, 0.0]))

    assert table.currency == "EUR"
    assert [(slot.start, slot.length_s) for slot in table.slots] == [(starts[index], 900) for index in (0, 2, 3)]
    assert prices_of(table) == [0.08512, -0.0035, 0.0]


def test_a_source_may_change_from_hours_to_quarters() -> None:
    starts = [START, START + HOUR, *(START + 2 * HOUR + index * QUARTER for index in range(3))]
    table = parse_energy_charts(energy_charts(starts, [1, 2, 3, 4, 5]))

    assert [slot.length_s for slot in table.slots] == [3600, 3600, 900, 900, 900]


def test_a_missing_hour_is_not_filled_by_the_one_before() -> None:
    starts = [START, START + HOUR, START + 3 * HOUR]
    table = parse_energy_charts(energy_charts(starts, [1, 2, 3]))

    assert table.find(START + 2.5 * HOUR) is None
    assert table.find(START + 1.5 * HOUR) is not None


def test_awattar_gives_hours_in_milliseconds() -> None:
    table = parse_awattar(awattar([START, START + HOUR], [-12.34, 56.78]))

    assert (table.currency, prices_of(table)) == ("EUR", [-0.01234, 0.05678])
    assert [slot.length_s for slot in table.slots] == [3600, 3600]


def test_tibber_gives_energy_and_taxes_of_today_and_what_is_known_of_tomorrow() -> None:
    today, tomorrow = (starts_of_day(date(2026, 6, day), "Europe/Berlin", QUARTER) for day in (21, 22))

    assert len(parse_tibber(tibber(today, [])).slots) == 96
    table = parse_tibber(tibber(today, tomorrow))
    assert (len(table.slots), table.currency) == (192, "EUR")
    assert table.slots[0] == PriceSlot(START, 900, {"energy": 0.21, "taxes": 0.09})


def test_tibber_reports_its_errors() -> None:
    with pytest.raises(PriceFormatError, match="No valid access token"):
        parse_tibber(json.dumps({"errors": [{"message": "No valid access token in request"}], "data": None}).encode())


def test_entsoe_carries_a_repeated_price_forward_in_a_curve_a03() -> None:
    table = parse_entsoe(entsoe(series(START, START + 6 * HOUR, {1: 50.1, 3: 48.0, 6: -5.0})))

    assert prices_of(table) == [0.0501, 0.0501, 0.048, 0.048, 0.048, -0.005]
    assert table.currency == "EUR"


def test_entsoe_leaves_a_gap_in_a_curve_a01() -> None:
    table = parse_entsoe(entsoe(series(START, START + 3 * HOUR, {1: 50.1, 3: 48.0}, curve="A01")))

    assert [slot.start for slot in table.slots] == [START, START + 2 * HOUR]


def test_entsoe_before_the_first_point_nothing_is_known() -> None:
    table = parse_entsoe(entsoe(series(START, START + 3 * HOUR, {2: 50.1})))

    assert [slot.start for slot in table.slots] == [START + HOUR, START + 2 * HOUR]


def test_of_entsoes_auctions_the_first_counts_and_of_its_resolutions_the_finest() -> None:
    quarters = series(START, START + HOUR, {1: 10.0, 2: 20.0, 3: 30.0, 4: 40.0}, "PT15M")
    hours = series(START, START + 2 * HOUR, {1: 25.0, 2: 26.0})
    position = "classificationSequence_AttributeInstanceComponent.position"
    second = f"<{position}>2</{position}>"
    other = series(START, START + HOUR, {1: 99.0}, head=second)
    intraday = series(
        START, START + HOUR, {1: 77.0}, head="<contract_MarketAgreement.type>A07</contract_MarketAgreement.type>"
    )
    table = parse_entsoe(entsoe(hours, quarters, other, intraday))

    assert prices_of(table) == [0.01, 0.02, 0.03, 0.04, 0.026]


def test_entsoe_says_why_there_is_nothing() -> None:
    answer = b"""<?xml version="1.0" encoding="UTF-8"?>
<Acknowledgement_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0">
  <mRID>1</mRID><Reason><code>999</code><text>No matching data found for Data item</text></Reason>
</Acknowledgement_MarketDocument>"""

    with pytest.raises(PriceFormatError, match="No matching data found"):
        parse_entsoe(answer)


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><Publication_MarketDocument>&b;</Publication_MarketDocument>',
        entsoe(series(START, START + HOUR, {1: 50.0}))[:-60],
        entsoe(series(START, START + HOUR, {1: 50.0}), kind="A69"),
        entsoe(series(START, START + HOUR, {1: 50.0}, "P1D")),
        entsoe(series(START, START + HOUR, {2: 50.0})),
        entsoe(series(START, START, {1: 50.0})),
        entsoe(series(START, START + HOUR, {1: 50.0}, curve="A04")),
        entsoe(series(START, START + HOUR, {1: float("nan")})),
        entsoe(series(START, START + 365 * 24 * HOUR, {1: 50.0}, "PT15M")),
        entsoe(
            series(START, START + HOUR, {1: 50.0}).replace("EUR", "GBP"),
            series(START + HOUR, START + 2 * HOUR, {1: 1.0}),
        ),
        entsoe(series(START, START + HOUR, {1: 50.0}).replace("MWH", "KWH")),
        entsoe(),
    ],
)
def test_a_document_that_is_no_day_ahead_price_is_refused(document: bytes) -> None:
    with pytest.raises(PriceFormatError):
        parse_entsoe(document)


def test_our_json_and_our_csv_say_the_same() -> None:
    own = {
        "currency": "EUR",
        "intervals": [
            {"interval_start": "2026-06-21T00:00:00+02:00", "price_per_kwh": 0.1, "co2_g_per_kwh": 300},
            {"interval_start": "2026-06-21T00:30:00+02:00", "price_per_kwh": -0.2},
        ],
    }
    header = "interval_start;price_per_mwh;co2_g_per_kwh;currency\n"
    rows = header + "2026-06-20T22:00Z;100;300;EUR\n2026-06-20T22:30Z;-200;;EUR\n"

    assert parse_own(json.dumps(own).encode()) == parse_csv(b"\xef\xbb\xbf" + rows.encode())
    assert parse_own(json.dumps(own).encode()).slots[0] == PriceSlot(START, 1800, {"energy": 0.1}, 300.0)


def test_a_single_interval_needs_its_length() -> None:
    alone = {"currency": "EUR", "intervals": [{"interval_start": "2026-06-20T22:00:00Z", "price_per_kwh": 0.1}]}

    with pytest.raises(PriceFormatError, match="how long"):
        parse_own(json.dumps(alone).encode())
    assert parse_own(json.dumps(alone | {"resolution_s": 3600}).encode()).slots[0].length_s == 3600


@pytest.mark.parametrize(
    "text",
    [
        "interval_start,price_per_kwh\n2026-06-21T00:00,0.1\n2026-06-21T01:00,0.1\n",
        "interval_start,price_per_kwh\n2026-06-21T00:00Z,0.1\n2026-06-21T01:00Z,cheap\n",
        "interval_start,price_per_kwh\n2026-06-21T00:00Z,nan\n2026-06-21T01:00Z,0.1\n",
        "interval_start,price_per_kwh\n2026-06-21T00:00Z,0.1\n2026-06-21T00:20Z,0.1\n",
        "interval_start,price_per_kwh\n2026-06-21T00:05Z,0.1\n2026-06-21T01:05Z,0.1\n",
        "interval_start,price_per_kwh\n2026-06-21T00:00Z,0.1\n2026-06-21T00:00Z,0.2\n2026-06-21T01:00Z,0.1\n",
        "interval_start,price_per_kwh,currency\n2026-06-21T00:00Z,0.1,EUR\n2026-06-21T01:00Z,0.1,CHF\n",
        "interval_start,price_per_kwh\n",
        "time,price\n2026-06-21T00:00Z,0.1\n",
        "interval_start,price_per_kwh\n2026-06-21T00:00Z\n",
        "",
    ],
)
def test_a_csv_that_leaves_something_open_is_refused_whole(text: str) -> None:
    with pytest.raises(PriceFormatError):
        parse_csv(text.encode())


def test_a_line_that_is_given_twice_counts_once() -> None:
    rows = "interval_start,price_per_kwh\n" + "2026-06-21T00:00Z,0.1\n" * 2 + "2026-06-21T01:00Z,0.2\n"

    assert prices_of(parse_csv(rows.encode())) == [0.1, 0.2]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html><body>Too many requests</body></html>",
        energy_charts([START, START + HOUR], [1, 2])[:60],
        awattar([START, START + HOUR], [1, 2])[:90],
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe\x00",
        b"1e999",
    ],
)
def test_half_an_answer_or_html_is_no_price(parse: Callable[[bytes], PriceTable], content: bytes) -> None:
    with pytest.raises(PriceFormatError):
        parse(content)


@given(content=st.binary(max_size=200))
def test_no_content_breaks_a_parser_in_another_way(content: bytes) -> None:
    for parse in PARSERS:
        with pytest.raises(PriceFormatError):
            parse(content)


@pytest.mark.parametrize(
    "content",
    [
        energy_charts([START, START + HOUR], [1, 2], "ct/kWh"),
        energy_charts([START, START + HOUR], [1]),
        energy_charts([START, START, START + HOUR], [1, 2, 3]),
        energy_charts([START, START + HOUR], [1e12, 2]),
    ],
)
def test_an_answer_of_energy_charts_that_contradicts_itself_is_refused(content: bytes) -> None:
    with pytest.raises(PriceFormatError):
        parse_energy_charts(content)


@pytest.mark.parametrize(
    "content",
    [
        awattar([START, START + HOUR / 2], [1, 2]),
        awattar([START, START], [1, 2]),
        awattar([START], [1], step=timedelta(minutes=7)),
        awattar([START], [1], unit="Eur/kWh"),
        awattar([], []),
    ],
)
def test_an_answer_of_awattar_that_contradicts_itself_is_refused(content: bytes) -> None:
    with pytest.raises(PriceFormatError):
        parse_awattar(content)


@pytest.mark.parametrize(
    ("timezone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 6, 10), 24),
        ("America/Los_Angeles", date(2026, 3, 8), 23),
        ("America/Los_Angeles", date(2026, 11, 1), 25),
    ],
)
def test_a_day_has_as_many_prices_as_hours(timezone: str, day: date, hours: int) -> None:
    starts = starts_of_day(day, timezone)
    prices = [float(index) for index in range(len(starts))]
    end = starts[-1] + HOUR
    tables = [
        parse_energy_charts(energy_charts(starts, [*prices])),
        parse_awattar(awattar(starts, prices)),
        parse_tibber(tibber(starts, [], timezone=timezone)),
        parse_entsoe(entsoe(series(starts[0], end, {index + 1: price for index, price in enumerate(prices)}))),
    ]

    assert len(starts) == hours
    assert [[slot.start for slot in table.slots] for table in tables] == [starts] * 4
    assert [len({slot.end for slot in table.slots}) for table in tables] == [hours] * 4


def test_overlapping_days_are_joined_and_the_newer_counts() -> None:
    first = parse_awattar(awattar([START + index * HOUR for index in range(30)], [1.0] * 30))
    second = parse_awattar(awattar([START + index * HOUR for index in range(24, 48)], [2.0] * 24))
    joined = first.updated_by(second, START + 2 * HOUR)

    assert [slot.start for slot in joined.slots] == [START + index * HOUR for index in range(2, 48)]
    assert prices_of(joined) == [0.001] * 22 + [0.002] * 24
    with pytest.raises(PriceFormatError, match="currency"):
        first.updated_by(parse_awattar(awattar([START], [1.0], unit="Gbp/MWh")), START)


@pytest.mark.skipif("EV_DATA_DIR" not in os.environ, reason="EV_DATA_DIR names no folder with measured data")
def test_a_year_of_measured_dutch_prices_is_read() -> None:
    file = Path(os.environ["EV_DATA_DIR"]) / "nl_day_ahead_2015_2024" / "nl_day_ahead_hourly.csv.gz"
    text = gzip.decompress(file.read_bytes()).decode()
    rows = [row for row in csv.reader(StringIO(text.replace(";", ","))) if row[0].startswith("2024")]
    renamed = "utc_timestamp,price_per_mwh\n" + "\n".join(",".join(row[:2]) for row in rows)
    table = parse_csv(renamed.encode())

    assert len(table.slots) == 366 * 24 - 1
    assert min(slot.parts["energy"] for slot in table.slots) < 0
    assert {slot.length_s for slot in table.slots} == {3600}
    assert table.find(datetime(2024, 12, 30, 23, 30, tzinfo=UTC)) is None
