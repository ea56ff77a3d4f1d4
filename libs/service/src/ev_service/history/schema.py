"""Tables of kept readings, the same in SQLite and PostgreSQL; `migrations` creates them.

Times are milliseconds since 1970 in UTC: both databases compare, divide and index them alike.
"""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Integer, MetaData, String, Table, UniqueConstraint

VERSION_TABLE = "history_version"
"""Alembic's own table, named so that other applications may share the database."""

metadata = MetaData()

series = Table(
    "history_series",
    metadata,
    Column("series_id", Integer, primary_key=True),
    Column("site_id", String(64), nullable=False),
    Column("service", String(16), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("field", String(64), nullable=False),
    UniqueConstraint("site_id", "service", "origin", "field", name="history_series_key"),
)
"""One numeric field of one service at one site; simulated, replayed and measured values are series of their own."""

readings = Table(
    "history_readings",
    metadata,
    Column("series_id", Integer, ForeignKey("history_series.series_id"), primary_key=True, autoincrement=False),
    Column("timestamp_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Float(53), nullable=False),
    sqlite_with_rowid=False,
)
"""Values as they were read."""

means = Table(
    "history_means",
    metadata,
    Column("series_id", Integer, ForeignKey("history_series.series_id"), primary_key=True, autoincrement=False),
    Column("interval_start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("mean", Float(53), nullable=False),
    Column("minimum", Float(53), nullable=False),
    Column("maximum", Float(53), nullable=False),
    sqlite_with_rowid=False,
)
"""Older values: their means over intervals of `MEAN_INTERVAL_S`."""

MEAN_INTERVAL_S = 900
"""Length of the intervals of `means` [s]."""
