"""Units as types: a number on the wire is finite and its type names its unit.

Signs and meanings are fixed once in docs/glossary.md.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

_finite = Field(allow_inf_nan=False)

Kilowatt = Annotated[float, _finite]
KilowattPeak = Annotated[float, _finite]
KilowattHour = Annotated[float, _finite]
Percent = Annotated[float, _finite]
Ampere = Annotated[float, _finite]
Volt = Annotated[float, _finite]
WattPerSquareMetre = Annotated[float, _finite]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must lie within the years 1 to 9999 in UTC") from error


UtcTimestamp = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""An aware moment; whatever its offset, it is UTC here and ends with `Z` on the wire."""


def utc_text(moment: datetime) -> str:
    """ISO 8601 with `Z`, whole seconds where there are no fractions.

    >>> utc_text(datetime(2026, 6, 21, 12, tzinfo=UTC))
    '2026-06-21T12:00:00Z'
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
