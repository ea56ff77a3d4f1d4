"""Windows of throttling quotas, and how the gateway writes the end of a window.

Source: WSO2 API Manager 4.6.0, throttle policy templates (`throttler:timeBatch(n, 0)`: windows aligned to the
epoch) and the gateway's ThrottleHandler (`yyyy-MMM-dd HH:mm:ssZ` followed by ` UTC`).
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from types import MappingProxyType

UNIT_SECONDS = MappingProxyType({"sec": 1, "min": 60, "hour": 3600, "day": 86400})
"""Length of WSO2's time units [s]."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Listed, because strftime's %b depends on the locale and WSO2's texts do not.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NEXT_ACCESS = re.compile(
    r"(?P<year>\d{4})-(?P<month>[A-Za-z]{3})-(?P<day>\d{1,2}) "
    r"(?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2})(?P<offset>[+-]\d{4})(?: UTC)?"
)
_SECONDS = re.compile(r"\d{1,7}")


def compute_window_s(unit_time: int, time_unit: str) -> int:
    """Return the length of a window [s].

    Args:
        unit_time: Number of units, > 0.
        time_unit: `sec`, `min`, `hour` or `day`.

    Raises:
        ValueError: Unknown unit, or unit_time is not positive.
    """
    if time_unit not in UNIT_SECONDS:
        raise ValueError(f"time unit must be one of {', '.join(UNIT_SECONDS)}, got {time_unit!r}")
    if unit_time <= 0:
        raise ValueError(f"unit time must be positive, got {unit_time}")
    return unit_time * UNIT_SECONDS[time_unit]


def compute_window_end(now: datetime, unit_time: int, time_unit: str) -> datetime:
    """Return the end of the window that contains `now`; the end itself belongs to the next window.

    Args:
        now: Aware timestamp.
        unit_time: Number of units, > 0.
        time_unit: `sec`, `min`, `hour` or `day`.

    Raises:
        ValueError: Unknown unit, or unit_time is not positive.

    >>> compute_window_end(datetime(2026, 6, 26, 3, 59, 12, tzinfo=UTC), 1, "min").isoformat()
    '2026-06-26T04:00:00+00:00'
    """
    length = timedelta(seconds=compute_window_s(unit_time, time_unit))
    return _EPOCH + ((now - _EPOCH) // length + 1) * length


def format_next_access_time(moment: datetime) -> str:
    """Format a timestamp as WSO2 does in `nextAccessTime`, independent of the locale.

    >>> format_next_access_time(datetime(2026, 6, 26, 4, tzinfo=UTC))
    '2026-Jun-26 04:00:00+0000 UTC'
    """
    utc = moment.astimezone(UTC)
    return f"{utc:%Y}-{_MONTHS[utc.month - 1]}-{utc:%d %H:%M:%S}+0000 UTC"


def parse_next_access_time(text: str) -> datetime | None:
    """Read `nextAccessTime`; None when it is not one.

    >>> parse_next_access_time("2026-Jun-26 04:00:00+0000 UTC").isoformat()
    '2026-06-26T04:00:00+00:00'
    """
    found = _NEXT_ACCESS.fullmatch(text.strip())
    if found is None or found["month"].title() not in _MONTHS:
        return None
    month = _MONTHS.index(found["month"].title()) + 1
    numbers = f"{found['year']} {month} {found['day']} {found['hour']} {found['minute']} {found['second']}"
    try:
        moment = datetime.strptime(f"{numbers} {found['offset']}", "%Y %m %d %H %M %S %z")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_retry_after(moment: datetime) -> str:
    """Format a timestamp as the HTTP date that WSO2 writes to `Retry-After`.

    >>> format_retry_after(datetime(2026, 6, 26, 4, tzinfo=UTC))
    'Fri, 26 Jun 2026 04:00:00 GMT'
    """
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def parse_retry_after(text: str, now: datetime) -> datetime | None:
    """Parse `Retry-After`: an HTTP date, or seconds from `now`, which other gateways send; None if it is neither."""
    stripped = text.strip()
    if _SECONDS.fullmatch(stripped):
        return now + timedelta(seconds=int(stripped))
    try:
        moment = parsedate_to_datetime(stripped)
        # HTTP dates are in UTC, so a date without a time zone is taken as UTC.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
