"""Which sun a site has: computed with pvlib, or read from a table that was.

Both give the same numbers; a table starts fast and needs no scientific library, which keeps battery and grid small.
"""

from importlib.util import find_spec

from site_model.parameters import SiteParameters
from site_model.sunlight import Sun
from site_model.yield_table import default_table, describe_site, table_from_file


def create_tabled_sun(parameters: SiteParameters) -> Sun:
    """The sun from a table where there is one for this site, else computed.

    Raises:
        ValueError: the table or weather file cannot be used, or there is neither a table nor pvlib.
    """
    site = describe_site(parameters)
    file = parameters.weather.yield_file
    table = default_table() if file is None else table_from_file(file)
    if table.site == site:
        return table
    if file is not None:
        raise ValueError(f"SITE_YIELD_FILE {file} was made for another site ({table.site}); this one is: {site}")
    if find_spec("pvlib") is None:
        raise ValueError(
            f"the yield of this site is not known here ({site}): make its table with "
            "`python -m site_model FILE` where site-model[sun] is installed and set SITE_YIELD_FILE, "
            "or install site-model[sun] beside this service"
        )
    return create_computed_sun(parameters)


def create_computed_sun(parameters: SiteParameters) -> Sun:
    """The sun from pvlib, or from the file that SITE_YIELD_FILE names.

    Raises:
        ValueError: the table or weather file cannot be used.
    """
    if parameters.weather.yield_file is not None:
        return create_tabled_sun(parameters)
    # Imported here and nowhere else: it takes a second and 100 MB that a reader of tables does not spend.
    from site_model.sun import pvlib_sun

    return pvlib_sun(parameters)
