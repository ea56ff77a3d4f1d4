"""The site twin, put together here and only here."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from ev_service.clock import Clock, make_clock
from ev_service.errors import ConfigurationError
from ev_service.logs import configure_logging
from ev_service.settings import RunSettings, SiteSettings, load
from ev_service.web import create_service
from site_model.parameters import SiteParameters, read_parameters
from site_model.sunlight import Sun
from site_model.yield_table import create_tabled_sun
from site_twin.api import reading_routes, site_routes
from site_twin.charge_points import load_charge_points
from site_twin.charging import DRAWS_MORE, DRAWS_MORE_MEANS
from site_twin.devices.device_types import DEVICES, device_kinds
from site_twin.devices.failing import MEANINGS
from site_twin.devices.mqtt import Broker, MqttDevice, broker_from_settings, speaking
from site_twin.faults import FaultBoard
from site_twin.ports import ChargePoints
from site_twin.readings import Readings
from site_twin.settings import TwinSettings
from site_twin.site import TwinSite

NAME = "SiteTwin"
DESCRIPTION = "The devices of a simulated site: sun, battery, building and cars, as one state that reacts to charging."


@dataclass(frozen=True)
class AllSettings:
    """All settings of the twin."""

    twin: TwinSettings
    site: SiteSettings
    run: RunSettings


def create_app(
    settings: AllSettings | None = None, clock: Clock | None = None, charge_points: ChargePoints | None = None
) -> FastAPI:
    """Make the application; settings and clock come from the environment where they are absent.

    Args:
        settings: all of them.
        clock: the run's clock.
        charge_points: where cars charge, if not at those that the settings name.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings is None:
        settings = AllSettings(load(TwinSettings), load(SiteSettings), load(RunSettings))
        configure_logging(NAME, settings.run.log_level)
    clock = clock or make_clock(settings.run.sim_clock_file)
    parameters = read_parameters(load, place=settings.site, seed=settings.run.sim_seed)
    readings = Readings(parameters, settings.site)
    if charge_points is None and settings.twin.ocpp_url is not None:
        charge_points = load_charge_points(settings.twin)
    broker = broker_from_settings(settings.twin)
    site = TwinSite(
        parameters,
        _sun(parameters),
        site=settings.site,
        clock=clock,
        cars_per_day=settings.twin.cars_per_day,
        building_shares=settings.twin.building_shares(settings.site.phases),
        charge_points=charge_points,
        faults=FaultBoard(_kinds_of_fault(charge_points, has_mqtt=broker is not None)),
    )
    devices = () if broker is None else _devices(settings, readings, site, clock, broker)
    app = create_service(
        name=NAME,
        description=DESCRIPTION,
        clock=clock,
        health=_always_well,
        assertion=None,
        lifespan=_lifespan(devices, charge_points, site),
    )
    app.include_router(reading_routes(site, readings))
    app.include_router(site_routes(site, settings.site))
    return app


def _sun(parameters: SiteParameters) -> Sun:
    try:
        return create_tabled_sun(parameters)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _kinds_of_fault(charge_points: ChargePoints | None, *, has_mqtt: bool) -> Mapping[str, Mapping[str, str]]:
    kinds: dict[str, Mapping[str, str]] = dict.fromkeys(DEVICES, MEANINGS) if has_mqtt else {}
    if charge_points is not None:
        of_chargers = {**charge_points.fault_kinds, DRAWS_MORE: DRAWS_MORE_MEANS}
        kinds |= {place.key.charger_id: of_chargers for place in charge_points.places}
    return kinds


def _devices(
    settings: AllSettings, readings: Readings, site: TwinSite, clock: Clock, broker: Broker
) -> Sequence[MqttDevice]:
    kinds = device_kinds(readings, settings.site, settings.twin)
    return [MqttDevice(kind, site, clock, broker, period_s=settings.twin.mqtt_period_s) for kind in kinds]


def _lifespan(
    devices: Sequence[MqttDevice], charge_points: ChargePoints | None, site: TwinSite
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(speaking(devices))
            if charge_points is not None:
                await stack.enter_async_context(charge_points.running(site))
            yield

    return lifespan


async def _always_well() -> Mapping[str, str | None]:
    # The site is computed: it is as well as the process. Broker and central system may come and go as they like.
    return {}
