"""What is plausible for an inverter and its panels, whatever protocol it speaks."""

from collections.abc import Sequence
from functools import partial

from ev_sensors.checks import Nominal, Range, Rules, Slope
from ev_sensors.inbox import Device
from ev_sensors.measurement import Measurement
from ev_service.telemetry import SolarStatus
from solar_service.model import HIGHEST_YIELD

_STANDBY = -0.01
"""What an inverter may draw at night, as a share of the panels' capacity."""

_BRIGHTEST_W_M2 = 2000.0
"""More than any sun: a cloud's edge adds about half to the 1,000 W/m² of a clear noon."""


def solar_device(site_id: str, capacity_kwp: float) -> Device[SolarStatus]:
    """The panels of the site.

    Args:
        site_id: the site.
        capacity_kwp: rated DC power of the panels as it is set [kWp].
    """
    generation = Range(
        _STANDBY * capacity_kwp,
        HIGHEST_YIELD * capacity_kwp,
        # A cloud that leaves; one that comes, or an inverter that trips, may be as quick as it likes.
        rise=Slope(at_once=0.2 * capacity_kwp, per_s=0.1 * capacity_kwp),
    )

    def reading(measured: Measurement, source: str) -> SolarStatus:
        return SolarStatus(
            site_id=site_id,
            timestamp=measured.timestamp,
            source=source,
            generation_kw=max(measured.values["generation_kw"], 0.0),
            capacity_kwp=capacity_kwp,
            poa_global_w_m2=measured.values.get("poa_global_w_m2"),
        )

    def combine(readings: Sequence[SolarStatus]) -> SolarStatus:
        return SolarStatus(
            site_id=site_id,
            timestamp=min(reading.timestamp for reading in readings),
            source=readings[0].source,
            generation_kw=sum(reading.generation_kw for reading in readings),
            capacity_kwp=sum(reading.capacity_kwp for reading in readings),
        )

    ranges = {"generation_kw": generation, "poa_global_w_m2": Range(0.0, _BRIGHTEST_W_M2)}
    rules = Rules(ranges, {"capacity_kwp": Nominal(capacity_kwp)})
    return Device("solar", rules, reading, combine, capacity_kwp, partial(solar_device, site_id))
