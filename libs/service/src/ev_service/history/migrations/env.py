"""Alembic runs this: it migrates over the connection that `database` hands it."""

from alembic import context
from sqlalchemy import Connection

from ev_service.history.schema import VERSION_TABLE, metadata

connection: Connection = context.config.attributes["connection"]
# SQLite cannot change a table in place; batch mode makes a new one.
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
