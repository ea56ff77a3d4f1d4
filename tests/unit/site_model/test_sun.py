"""Sun and panels against pvlib itself and against the weather file they come from."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pvlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_service.settings import SiteSettings
from site_model.parameters import Building, Panels, SiteParameters, Storage, Weather
from site_model.sun import PvlibSun, pvlib_sun, read_typical_year
from site_model.sunlight import STEP_S, sunlight_at
from site_model.weather import HOURS, TypicalYear
from site_model.yield_table import default_table

_pandas: Any = pandas
_pvlib: Any = pvlib
TMY3 = Path(pvlib.__file__).parent / "data" / "723170TYA.CSV"
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


def _site(**place: float) -> SiteParameters:
    return SiteParameters(SiteSettings(**place), Weather(), Panels(), Storage(), Building(), seed=7)  # pyright: ignore[reportArgumentType]


@cache
def _greensboro() -> PvlibSun:
    return pvlib_sun(_site())


@cache
def _berlin() -> PvlibSun:
    return pvlib_sun(_site(latitude_deg=52.5, longitude_deg=13.4))


def _elevation_deg(moment: datetime, latitude_deg: float, longitude_deg: float) -> float:
    index = _pandas.DatetimeIndex([moment])
    return float(_pvlib.solarposition.get_solarposition(index, latitude_deg, longitude_deg)["elevation"].iloc[0])


def test_the_shipped_table_equals_recomputation() -> None:
    for (month, day), tabled in default_table().days.items():
        computed = _greensboro().day(month, day)

        # One watt of rounding is left to other versions of numpy and other processors.
        assert np.abs(np.subtract(tabled.yield_w_per_kwp, computed.yield_w_per_kwp)).max() <= 1, (month, day)


@given(moment=MOMENTS)
def test_night_is_exactly_zero_at_greensboro(moment: datetime) -> None:
    sunlight = sunlight_at(_greensboro(), moment)

    if _elevation_deg(moment, 36.1, -79.95) <= 0:
        assert (sunlight.yield_w_per_kwp, sunlight.poa_global_w_m2) == (0.0, 0.0)


def test_night_is_exactly_zero_in_every_year_up_to_the_horizon() -> None:
    moments = _pandas.date_range("2024-01-01", "2029-01-01", freq="15min", inclusive="left", tz="UTC")
    elevation = _pvlib.solarposition.get_solarposition(moments, 36.1, -79.95)["elevation"].to_numpy()

    dusk = moments[(elevation <= 0) & (elevation > -1)]

    assert len(dusk) > 1000
    assert {sunlight_at(default_table(), moment).yield_w_per_kwp for moment in dusk.to_pydatetime()} == {0.0}


@given(moment=MOMENTS)
def test_night_is_exactly_zero_under_a_clouded_sky_too(moment: datetime) -> None:
    sunlight = sunlight_at(_berlin(), moment)

    if _elevation_deg(moment, 52.5, 13.4) <= 0:
        assert (sunlight.yield_w_per_kwp, sunlight.poa_global_w_m2) == (0.0, 0.0)


@given(moment=MOMENTS)
def test_daylight_is_never_negative_and_never_more_than_panels_can_give(moment: datetime) -> None:
    for sun in (_greensboro(), _berlin()):
        sunlight = sunlight_at(sun, moment)

        assert 0 <= sunlight.yield_w_per_kwp < 1000
        assert sunlight.poa_global_w_m2 is not None
        assert 0 <= sunlight.poa_global_w_m2 < 1400


def test_zero_irradiance_gives_zero_power() -> None:
    measured = read_typical_year(TMY3)
    dark = replace(measured, ghi_w_m2=np.zeros(HOURS), dni_w_m2=np.zeros(HOURS))

    day = PvlibSun(_site(), dark).day(6, 21)

    assert set(day.yield_w_per_kwp) == {0}
    assert set(day.poa_global_w_m2 or ()) == {0}


def test_flat_panels_receive_what_the_weather_file_measured() -> None:
    measured = read_typical_year(TMY3)
    flat = PvlibSun(replace(_site(), panels=Panels(surface_tilt_deg=0)), measured)

    received = sum(sum(flat.day(6, day).poa_global_w_m2 or ()) for day in range(1, 31)) * STEP_S / 3600

    # June in UTC days is June in local days but for the evening of the last one.
    first_hour = (datetime(2023, 6, 1, tzinfo=UTC) - datetime(2023, 1, 1, tzinfo=UTC)).days * 24 - 5
    assert received == pytest.approx(float(measured.ghi_w_m2[first_hour : first_hour + 720].sum()), rel=0.02)


def test_the_default_plant_yields_what_plants_in_north_carolina_do() -> None:
    total_wh = sum(sum(day.yield_w_per_kwp) for day in default_table().days.values()) * STEP_S / 3600

    assert total_wh / 1000 == pytest.approx(1375, rel=0.05)  # PVWatts gives 1,350 to 1,400 kWh/kWp there


def test_the_sun_is_highest_at_solar_noon() -> None:
    berlin = PvlibSun(_site(latitude_deg=52.5, longitude_deg=13.4), _even_weather())

    brightest = int(np.argmax(berlin.day(6, 21).poa_global_w_m2 or ()))

    assert timedelta(seconds=brightest * STEP_S) / timedelta(hours=1) == pytest.approx(12 - 13.4 / 15, abs=0.3)


def test_polar_night_is_dark_and_polar_day_is_not() -> None:
    spitsbergen = pvlib_sun(_site(latitude_deg=78.2, longitude_deg=15.6))

    assert set(spitsbergen.day(12, 21).yield_w_per_kwp) == {0}
    assert min(spitsbergen.day(6, 21).yield_w_per_kwp) > 0


def test_days_on_which_the_sun_only_just_rises_stay_dark_under_measured_weather() -> None:
    spitsbergen = PvlibSun(_site(latitude_deg=78.2, longitude_deg=15.6), _even_weather())

    days = [spitsbergen.day(2, day) for day in range(10, 25)]

    assert set(days[0].yield_w_per_kwp) == {0}
    assert max(days[-1].yield_w_per_kwp) > 0
    assert min(min(day.yield_w_per_kwp) for day in days) == 0


def test_another_seed_brings_other_clouds_and_the_same_seed_the_same() -> None:
    elsewhere = _site(latitude_deg=52.5, longitude_deg=13.4)

    assert pvlib_sun(elsewhere).day(6, 21) == _berlin().day(6, 21)
    assert pvlib_sun(replace(elsewhere, seed=8)).day(6, 21) != _berlin().day(6, 21)


def test_a_weather_file_in_epw_format_is_read(tmp_path: Path) -> None:
    file = tmp_path / "site.epw"
    file.write_text(_epw(ghi_w_m2=250, utc_offset_h=5.5), encoding="utf-8")

    year = read_typical_year(file)

    assert year.utc_offset_h == 5.5
    assert set(year.ghi_w_m2) == {250.0}


def test_a_weather_file_with_missing_values_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "site.epw"
    file.write_text(_epw(ghi_w_m2=9999, utc_offset_h=1), encoding="utf-8")

    with pytest.raises(ValueError, match=r"site\.epw cannot be used: hour 0 of the year: ghi_w_m2 is 9999"):
        read_typical_year(file)


@pytest.mark.parametrize("content", ["", "nonsense", "a,b,c\n1,2,3\n"])
def test_a_file_that_is_no_weather_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "site.csv"
    file.write_text(content, encoding="utf-8")

    with pytest.raises(ValueError, match="cannot be used"):
        read_typical_year(file)


def test_a_weather_year_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="8760 hours"):
        replace(_even_weather(), dni_w_m2=np.zeros(24))


def _even_weather() -> TypicalYear:
    """The same clear hour all year, so that only the sun's place matters."""
    return TypicalYear(0.0, *(np.full(HOURS, value) for value in (1400.0, 0.0, 20.0, 2.0)))


def _epw(*, ghi_w_m2: float, utc_offset_h: float) -> str:
    header = f"LOCATION,Pune,-,IND,test,430630,18.5,73.9,{utc_offset_h},559.0\n" + "HEADER\n" * 7
    first = datetime(2001, 1, 1, tzinfo=UTC)
    hours = (first + timedelta(hours=index) for index in range(HOURS))
    # Columns as EnergyPlus names them: date, flags, temperatures, radiation (ghi is the 14th), wind, the rest.
    return header + "".join(
        f"{at.year},{at.month},{at.day},{at.hour + 1},0,?,20,10,50,101325,0,0,300,{ghi_w_m2},100,150,"
        "0,0,0,0,180,2,0,0,20,77777,9,999999999,150,0.1,0,88,0.2,0,0\n"
        for at in hours
    )
