"""From a database's URL to an engine that does not block, for a journal that writes on one connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from grammars.errors import ConfigurationError

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}

STATEMENT_S = 30
"""How long a statement may take; then it has failed."""


def read_url(text: str) -> URL:
    """The database's URL with a driver that does not block. Raises `ConfigurationError` for what is none."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigurationError("the journal is no database URL such as sqlite:///journal.sqlite3") from None
    driver = DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise ConfigurationError(f"the journal can be in sqlite or postgresql, not in {url.get_backend_name()!r}")
    if driver.startswith("sqlite") and (not url.database or url.database.startswith((":", "file:"))):
        raise ConfigurationError("a journal in SQLite needs a file: sqlite:///FILE")
    return url.set(drivername=driver)


def create_engine(url: URL) -> AsyncEngine:
    """The engine, on one connection: one writer is all there is."""
    if url.get_backend_name() != "sqlite":
        return create_async_engine(
            url,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,  # PostgreSQL may have been restarted
            connect_args={"timeout": STATEMENT_S, "command_timeout": STATEMENT_S},
        )
    assert url.database is not None  # `read_url`
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)  # what calls were given and answered is nobody else's to read
    engine = create_async_engine(url, poolclass=StaticPool)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not where the driver thinks they should
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout = 30000")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # an intent outlives the machine, not only the process
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # one that only reads first could not become a writer later

    return engine
