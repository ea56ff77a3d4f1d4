"""Series, readings and means."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "history_series",
        sa.Column("series_id", sa.Integer(), primary_key=True),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("service", sa.String(16), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("field", sa.String(64), nullable=False),
        sa.UniqueConstraint("site_id", "service", "origin", "field", name="history_series_key"),
    )
    op.create_table(
        "history_readings",
        _series_id(),
        sa.Column("timestamp_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("value", sa.Float(53), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history_means",
        _series_id(),
        sa.Column("interval_start_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("mean", sa.Float(53), nullable=False),
        sa.Column("minimum", sa.Float(53), nullable=False),
        sa.Column("maximum", sa.Float(53), nullable=False),
        sqlite_with_rowid=False,
    )


def _series_id() -> sa.Column[int]:
    reference = sa.ForeignKey("history_series.series_id")
    return sa.Column("series_id", sa.Integer(), reference, primary_key=True, autoincrement=False)


def downgrade() -> None:
    """Refuse: readings are not thrown away."""
    raise NotImplementedError("readings are kept; restore a copy instead")
