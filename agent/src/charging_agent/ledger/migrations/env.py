"""Alembic runs this: it migrates over the connection that `store` hands it."""

from alembic import context
from sqlalchemy import Connection

from charging_agent.ledger.store import METADATA

connection: Connection = context.config.attributes["connection"]
# SQLite cannot change a table in place; batch mode makes a new one.
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
