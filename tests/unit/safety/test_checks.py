"""The checks of the safety run find what they look for: a run without a finding would else prove nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from tests.safety.charge_point import ChargePoint, ChargingProfile, Fault
from tests.safety.checks import Checks
from tests.safety.site import Site


@dataclass
class Moment:
    seconds: float = 1000.0

    def monotonic(self) -> float:
        return self.seconds


class Scene:
    """One charger on L1 of a connection of 87 A a phase, connected for long, looked at ten times a second."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.site = Site(60.0, lambda: datetime(2026, 6, 21, tzinfo=UTC))
        self.point = ChargePoint("CP-1", (1,), 32.0, 32.0, 0.0, lambda _charger_id, _limit_a: None)
        self.point.connected_since_s = 0.0
        self.point.transaction_id = 1
        self.site.cars.append(self.point)
        self.checks = Checks(self.site, [self.point], 6.0, service_up_since_s=0.0)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.moment.seconds += 0.1
            self.site.grid_load()
            self.checks.look(0.1)

    @property
    def violations(self) -> list[str]:
        return self.checks.findings.violations


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    moment = Moment()
    monkeypatch.setattr("tests.safety.checks.time", moment)
    monkeypatch.setattr("tests.safety.charge_point.time", moment)
    return Scene(moment)


def test_an_overload_with_an_obeying_car_may_last_five_seconds_and_no_longer(scene: Scene) -> None:
    scene.point.drawn_a = 16.0
    scene.site.building_a = 80.0, 10.0, 10.0

    scene.pass_time(4.9)
    assert scene.violations == []

    scene.pass_time(1)
    (violation,) = scene.violations
    assert "L1 over 87.0 A" in violation
    assert "CP-1 16 A" in violation


@pytest.mark.parametrize("building_a", [(80.0, 10.0, 10.0), (10.0, 90.0, 10.0)], ids=["without a car", "another phase"])
def test_an_overload_that_no_obeying_car_adds_to_is_the_buildings(
    scene: Scene, building_a: tuple[float, float, float]
) -> None:
    scene.point.drawn_a = 16.0 if building_a[1] > 50 else 0.0
    scene.site.building_a = building_a
    scene.pass_time(20)

    assert scene.violations == []


def test_a_car_that_disobeys_is_not_counted(scene: Scene) -> None:
    scene.point.change_fault(Fault.DISOBEYS)
    scene.point.drawn_a = 32.0
    scene.site.building_a = 80.0, 10.0, 10.0
    scene.pass_time(20)

    assert scene.violations == []


def test_time_with_the_charger_away_or_the_service_down_is_reported_apart(scene: Scene) -> None:
    scene.point.drawn_a = 16.0
    scene.site.building_a = 80.0, 10.0, 10.0
    scene.checks.service_up_since_s = None
    scene.pass_time(20)

    assert scene.violations == []
    assert sum(scene.checks.findings.apart.values()) == pytest.approx(20)


def test_a_limit_above_the_fallback_may_last_a_minute_without_a_commander(scene: Scene) -> None:
    scene.point.tx_profile = ChargingProfile(16.0)
    scene.checks.commander_gone_since_s = scene.moment.seconds

    scene.pass_time(59)
    assert scene.violations == []

    scene.pass_time(2)
    (violation,) = scene.violations
    assert "CP-1 may draw 16 A" in violation


def test_a_current_that_no_car_charges_with_is_found(scene: Scene) -> None:
    scene.checks.forbid_limit("CP-1", 4.0)

    assert "CP-1 was sent 4.0 A" in scene.violations[0]
