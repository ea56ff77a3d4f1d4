"""Brings the tables of kept readings to their newest form."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection

from ev_service.history.schema import VERSION_TABLE


def is_current(connection: Connection) -> bool:
    """Return whether the tables are in their newest form.

    Raises:
        SQLAlchemyError: the database cannot be read.
    """
    # It reports at INFO what it looks at; what it changed stands in the tables.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    return current == ScriptDirectory.from_config(_create_config()).get_current_head()


def migrate(connection: Connection) -> str | None:
    """Bring the tables to their newest form, over a connection whose transaction has begun.

    Returns:
        Why it cannot be done; None if it is.

    Raises:
        SQLAlchemyError: the database cannot be written.
    """
    config = _create_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except (CommandError, ResolutionError) as error:
        return f"its tables are of a newer version: {error}"
    return None


def _create_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
