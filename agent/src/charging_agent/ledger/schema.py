"""The ledger's table. It changes through migrations alone; a test holds both together."""

from sqlalchemy import CheckConstraint, Column, Integer, MetaData, String, Table, Text

METADATA = MetaData()

RECORDS = Table(
    "records",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("decision_id", String(36), nullable=False, unique=True),
    Column("record", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
    CheckConstraint("sequence > 0", name="sequence_is_positive"),
)
"""One row for each decision: the record as canonical JSON, its hash and the signature; the rest only finds it."""
