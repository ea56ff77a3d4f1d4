"""The default site and its story, made once: both are pure."""

import pytest

from ev_service.settings import SiteSettings
from site_model.parameters import Building, Panels, SiteParameters, Storage, Weather
from site_model.scenario import Site
from site_model.yield_table import create_tabled_sun


@pytest.fixture(scope="session")
def parameters() -> SiteParameters:
    return SiteParameters(SiteSettings(), Weather(), Panels(), Storage(), Building(), seed=7)


@pytest.fixture(scope="session")
def site(parameters: SiteParameters) -> Site:
    return Site(parameters, create_tabled_sun(parameters))
