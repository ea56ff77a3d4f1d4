"""A database of each kind that this machine has: SQLite always, PostgreSQL where its server is."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ev_service.history.database import HistoryDatabase, open_database
from ev_service.history.reading_history import SeriesOwner
from ev_service.history.settings import HistorySettings
from ev_service.history.store import HistoryStore, Sample

NOON = datetime(2026, 6, 25, 12, tzinfo=UTC)
OWNER = SeriesOwner("greensboro", "grid", "measured")


def make_store(database: HistoryDatabase, owner: SeriesOwner = OWNER, **days: float) -> HistoryStore:
    raw, mean = days.get("raw", 14), days.get("mean", 730)
    return HistoryStore(database, owner, raw_for=timedelta(days=raw), means_for=timedelta(days=mean))


def minutes(start: datetime, number: int, value: float = 10.0) -> list[Sample]:
    return [Sample(start + timedelta(minutes=minute), {"load_kw": value + minute}) for minute in range(number)]


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this test run alone, on a free port of the loopback address, without the disk's guarantees."""
    given = os.environ.get("EV_TEST_POSTGRESQL_URL")
    if given:
        yield given
        return
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("needs a PostgreSQL server: initdb and postgres on the PATH, or EV_TEST_POSTGRESQL_URL")
    folder = tmp_path_factory.mktemp("postgresql")
    # PostgreSQL does not run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        for parent in (folder, *folder.parents[:-1]):
            if parent.owner() == "root" and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o011)
        shutil.chown(folder, "postgres")
    cluster = folder / "cluster"
    make = ["initdb", "--pgdata", str(cluster), "--username", "history", "--auth", "trust", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, cwd=folder, user=user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
    server = subprocess.Popen(
        ["postgres", "-D", str(cluster), "-p", str(port), *options],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user,
    )  # fmt: skip
    try:
        ready = ["pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert server.poll() is None, "the PostgreSQL server ended"
            time.sleep(0.1)
        yield f"postgresql://history@127.0.0.1:{port}/postgres"
    finally:
        # Its fast shutdown: connections that are still open are closed.
        server.send_signal(signal.SIGINT)
        server.wait(30)


def drop_tables(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for name in ("history_means", "history_readings", "history_series", "history_version"):
            connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> HistorySettings:
    if request.param == "sqlite":
        return HistorySettings(dir=tmp_path / "history")
    url: str = request.getfixturevalue("postgresql_url")
    drop_tables(url)
    return HistorySettings(database_url=url)


@pytest.fixture
def database(settings: HistorySettings) -> Iterator[HistoryDatabase]:
    opened = open_database(settings, "grid")
    assert opened is not None
    yield opened
    opened.close()
