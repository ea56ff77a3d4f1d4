import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ev_service.settings import SiteSettings
from site_model.__main__ import main
from site_model.parameters import Panels, SiteParameters, Weather
from site_model.sun import PvlibSun
from site_model.yield_table import (
    create_computed_sun,
    create_tabled_sun,
    default_table,
    describe_site,
    read_table,
    write_table,
)


def _elsewhere(parameters: SiteParameters) -> SiteParameters:
    return replace(parameters, place=SiteSettings(latitude_deg=52.5, longitude_deg=13.4))


def test_a_table_reads_back_as_it_was_written() -> None:
    text = write_table(default_table(), default_table().site)

    assert read_table(text) == default_table()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("# AC yield", "# DC yield", "begins with the line"),
        ("\n1,2,0", "\n1,2,x", "line 4: invalid literal"),
        ("\n1,2,0", "\n1,2,-5", "line 4: a day has 96 values, none below 0"),
        ("\n1,2,0", "\n1,2,0,0", "line 4: a day has 96 values"),
        ("\n1,2,0", "\n1,1,0", "no row for 02 January"),
    ],
)
def test_a_spoilt_table_is_refused_with_its_line(old: str, new: str, reason: str) -> None:
    text = write_table(default_table(), default_table().site)

    with pytest.raises(ValueError, match=reason):
        read_table(text.replace(old, new, 1))


def test_the_default_site_needs_no_physics(parameters: SiteParameters) -> None:
    assert create_tabled_sun(parameters) is default_table()


def test_other_panels_are_computed_where_pvlib_is_installed(parameters: SiteParameters) -> None:
    steep = replace(parameters, panels=Panels(surface_tilt_deg=60))

    assert isinstance(create_tabled_sun(steep), PvlibSun)


def test_the_size_of_the_plant_does_not_bear_on_its_table(parameters: SiteParameters) -> None:
    assert create_tabled_sun(replace(parameters, panels=Panels(capacity_kwp=5))) is default_table()


def test_without_pvlib_another_site_says_what_to_do(
    parameters: SiteParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("site_model.yield_table.find_spec", dict[str, object]().get)

    with pytest.raises(ValueError, match=r"latitude 52\.5°.*python -m site_model FILE.*SITE_YIELD_FILE"):
        create_tabled_sun(_elsewhere(parameters))


def test_a_table_of_ones_own_is_read_by_all_services(parameters: SiteParameters, tmp_path: Path) -> None:
    file = tmp_path / "berlin.csv"
    elsewhere = _elsewhere(parameters)
    file.write_text(write_table(default_table(), describe_site(elsewhere)), encoding="utf-8")
    with_table = replace(elsewhere, weather=Weather(yield_file=file))

    for choose in (create_tabled_sun, create_computed_sun):
        assert choose(with_table).day(6, 21) == default_table().day(6, 21)


def test_a_table_of_another_site_is_refused(parameters: SiteParameters, tmp_path: Path) -> None:
    file = tmp_path / "greensboro.csv"
    file.write_text(write_table(default_table(), default_table().site), encoding="utf-8")

    with pytest.raises(ValueError, match="made for another site"):
        create_tabled_sun(replace(_elsewhere(parameters), weather=Weather(yield_file=file)))


def test_a_missing_table_is_refused_by_name(parameters: SiteParameters, tmp_path: Path) -> None:
    absent = replace(parameters, weather=Weather(yield_file=tmp_path / "absent.csv"))

    with pytest.raises(ValueError, match=r"absent\.csv cannot be used"):
        create_tabled_sun(absent)


def test_the_command_makes_the_table_of_the_site_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOLAR_SURFACE_TILT_DEG", "60")
    file = tmp_path / "steep.csv"

    monkeypatch.setattr(sys, "argv", ["site_model", str(file)])
    main()

    table = read_table(file.read_text(encoding="utf-8"))
    assert "tilt 60°" in table.site
    winter, summer = table.day(12, 21), table.day(6, 21)
    flatter = default_table()
    assert sum(winter.yield_w_per_kwp) > sum(flatter.day(12, 21).yield_w_per_kwp)
    assert sum(summer.yield_w_per_kwp) < sum(flatter.day(6, 21).yield_w_per_kwp)


@pytest.mark.parametrize("service", ["battery_service", "grid_service"])
def test_battery_and_grid_start_without_scientific_libraries(service: str) -> None:
    unwanted = "{'numpy', 'pandas', 'pvlib', 'scipy'}"
    asked = f"import sys, {service}.app as a; a.create_app(); print(sys.modules.keys() & {unwanted})"

    ran = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)

    assert ran.stdout.strip() == "set()"
