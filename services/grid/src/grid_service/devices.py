"""What is plausible for the meter of the grid connection, whatever protocol it speaks."""

from collections.abc import Mapping

from ev_sensors.checks import Nominal, Range, Rules, Slope
from ev_sensors.inbox import Device
from ev_sensors.measurement import Measurement
from ev_service.telemetry import GridLoad
from grid_service.model import contradiction, load_percent

_HIGHEST_SHARE = 3.0
"""Load over limit that no connection carries for longer than its fuses need."""


def grid_device(site_id: str, limit_kw: float) -> Device[GridLoad]:
    """The meter at the connection.

    Args:
        site_id: the site.
        limit_kw: what the connection may carry as it is set [kW].
    """

    def implausible(values: Mapping[str, float]) -> str | None:
        load_kw, export_kw = values["load_kw"], values["export_kw"]
        told_percent = values.get("load_percent", load_percent(load_kw, limit_kw))
        return contradiction(told_percent=told_percent, load_kw=load_kw, limit_kw=limit_kw, export_kw=export_kw)

    def reading(measured: Measurement, source: str) -> GridLoad:
        load_kw = measured.values["load_kw"]
        return GridLoad(
            site_id=site_id,
            timestamp=measured.timestamp,
            source=source,
            load_percent=load_percent(load_kw, limit_kw),
            load_kw=load_kw,
            limit_kw=limit_kw,
            export_kw=measured.values["export_kw"],
            # A meter at the connection sees the cars, unless the device says that it stands elsewhere.
            includes_charging=bool(measured.values.get("includes_charging", True)),
        )

    highest_kw = _HIGHEST_SHARE * limit_kw
    # A load that falls sets charging free, so a fall that no consumer makes has to be confirmed sooner than a rise.
    rise, fall = Slope(limit_kw, 0.5 * limit_kw), Slope(0.6 * limit_kw, 0.1 * limit_kw)
    ranges = {"load_kw": Range(0.0, highest_kw, rise, fall), "export_kw": Range(0.0, highest_kw)}
    return Device("grid", Rules(ranges, {"limit_kw": Nominal(limit_kw)}, implausible), reading)
