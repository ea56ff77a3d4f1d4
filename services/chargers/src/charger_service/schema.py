"""The tables in which the service keeps what must outlive it."""

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text

metadata = MetaData()

limit_states = Table(
    "standings",
    metadata,
    Column("charger_id", String(48), primary_key=True),
    Column("evse_id", Integer, primary_key=True),
    # The most that the EVSE may draw per phase [A], whatever came after this was written; null: all it can.
    Column("ceiling_a", Float),
    Column("fallback_held_a", Float),
    Column("wanted", Text),
)

chargers = Table("chargers", metadata, Column("charger_id", String(48), primary_key=True), Column("content", Text))
"""What a charger says of itself, how it takes limits, and at which EVSEs a session was since nobody was there."""

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("charger_id", String(48), nullable=False),
    Column("evse_id", Integer, nullable=False),
    Column("transaction_id", String(64), nullable=False),
    Column("content", Text, nullable=False),
    # ISO 8601 in UTC; null: it runs.
    Column("ended_at", String(40), index=True),
)

numbers = Table(
    "transaction_numbers",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("charger_id", String(48), nullable=False),
    Column("beginning", Text, nullable=False),
)

words = Table("operator_words", metadata, Column("name", String(32), primary_key=True), Column("content", Text))
"""What an operator ordered and is in force: the site's limit and the override."""
