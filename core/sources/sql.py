"""Rows of a query, through SQLAlchemy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import sqlalchemy as sa

from core.catalog import SqlSource
from core.errors import ConfigError, DataError, SourceError
from core.sources.rows import RowSource, TypesChangedError, refuse_twice
from core.sources.secrets import Secrets, expand
from core.sources.types import common_schema

CHUNK_ROWS = 10_000
_REFUSED = (bytes, memoryview, dict, list, tuple)


class SqlRows(RowSource):
    """The rows of a query, in a transaction that may only read where the database knows such ones."""

    def __init__(self, source: SqlSource, chunk_rows: int = CHUNK_ROWS) -> None:
        text, self._secrets = expand(source.url, "source.url")
        self._url = _url(text, source.url)
        super().__init__(f"the query at {source.url}")
        if self._url.password is not None:
            self._secrets.add(str(self._url.password))
        self._query = source.query
        self._chunk_rows = chunk_rows
        self._types: pa.Schema | None = None
        self.reader = {"format": "sql", "dialect": self._url.get_backend_name()}

    def _tables(self) -> Iterator[pa.Table]:
        started = self._types
        with self._connected() as connection:
            for rows in self._partitions(connection):
                table = self._table(rows)
                self._types = self._types or table.schema
                started = started or table.schema
                wider = common_schema(self._types, table, text=False)
                if wider == started == self._types:
                    yield self._cast(table, started)
                self._types = wider
                self.done += len(table)
        if self._types != started:
            raise TypesChangedError

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = _engine(self._url, self._secrets)
        try:
            with self._saying(connecting=True):
                connection = engine.connect()
            try:
                with self._saying():
                    connection = connection.execution_options(stream_results=True, **_read_only(connection))
                yield connection
            finally:
                connection.close()
        finally:
            engine.dispose()

    def _partitions(self, connection: sa.Connection) -> Iterator[tuple[list[str], list[Any]]]:
        with self._saying():
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only = ON")
            # As it stands: a colon or a per cent sign in it means nothing to SQLAlchemy or the driver.
            result = connection.execution_options(no_parameters=True).exec_driver_sql(self._query)
        if not result.returns_rows:
            raise ConfigError("source.query returns no rows; expected a SELECT")
        names = list(result.keys())
        refuse_twice(names, self.place)
        while True:
            with self._saying(streaming=True):
                rows = result.fetchmany(self._chunk_rows)
            if not rows:
                return
            yield names, list(rows)

    def _table(self, rows: tuple[list[str], list[Any]]) -> pa.Table:
        names, values = rows
        columns = zip(names, zip(*values, strict=True), strict=True)
        return pa.table({name: self._array(name, list(cells)) for name, cells in columns})

    def _cast(self, table: pa.Table, types: pa.Schema) -> pa.Table:
        # As it is when integers and fractions come together: what lies past 2^53 is rounded.
        rounded = {item.name for item in types if pa.types.is_floating(item.type)}
        columns = [table[item.name].cast(item.type, safe=item.name not in rounded) for item in types]
        return pa.Table.from_arrays(columns, schema=types)

    def _array(self, name: str, cells: list[Any]) -> pa.Array:
        kinds = {type(cell) for cell in cells}
        if wrong := next((kind for kind in kinds if issubclass(kind, _REFUSED)), None):
            raise DataError(
                f"{self.place}: column {name!r} holds {wrong.__name__}; select numbers, booleans, text, dates "
                "or time stamps"
            )
        if UUID in kinds:
            cells = [str(cell) if isinstance(cell, UUID) else cell for cell in cells]
        if Decimal in kinds:
            cells = _decimals(cells)
        if kinds >= {date, datetime}:
            cells = [datetime(*cell.timetuple()[:3]) if type(cell) is date else cell for cell in cells]
        try:
            found = pa.array(cells)
            # A database shows its session's offset, which summer time changes from row to row.
            zoned = pa.types.is_timestamp(found.type) and found.type.tz is not None
            return found.cast(pa.timestamp("us", "UTC")) if zoned else found
        except (pa.ArrowException, OverflowError):
            # Databases without strict types mix them in a column.
            return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())

    @contextmanager
    def _saying(self, *, connecting: bool = False, streaming: bool = False) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            said = self._secrets.hide(str(error.orig).strip())
            lost = error.connection_invalidated or (streaming and isinstance(error, sa.exc.OperationalError))
            if connecting or lost:
                # Without the cause: drivers write what they were called with into theirs.
                raise SourceError(f"{self.place} cannot be reached: {said}") from None
            raise ConfigError(f"source.query fails: {said}") from None
        except sa.exc.SQLAlchemyError as error:
            raise ConfigError(f"{self.place} fails: {self._secrets.hide(str(error))}") from None


def _decimals(cells: list[Any]) -> list[Any]:
    """With NaN missing; as floats if some are infinite, which decimals of Arrow cannot be."""
    cells = [None if isinstance(cell, Decimal) and cell.is_nan() else cell for cell in cells]
    if any(isinstance(cell, Decimal) and cell.is_infinite() for cell in cells):
        return [float(cell) if isinstance(cell, Decimal) else cell for cell in cells]
    return cells


def _url(text: str, template: str) -> sa.URL:
    try:
        literal = sa.make_url(re.sub(r"\$\{\w+\}", "0", template))
    except (sa.exc.ArgumentError, ValueError):
        literal = None  # a variable holds more than a part of it
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigError(
            "source.url is no SQLAlchemy URL such as postgresql+psycopg2://user:${PASSWORD}@host/database"
        ) from None
    if literal is not None and literal.password is not None and url.password == literal.password:
        raise ConfigError(
            "source.url holds a password; write ${NAME} in its place and set that environment variable"
        )
    database = Path(url.database or ":memory:")
    if url.get_backend_name() == "sqlite" and str(database) != ":memory:" and not database.is_file():
        raise ConfigError(f"there is no SQLite file {database}; mend `source.url`")
    return url


def _engine(url: sa.URL, secrets: Secrets) -> sa.Engine:
    try:
        return sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise ConfigError(
            f"there is no driver for {url.drivername}: {secrets.hide(str(error))}; install it"
        ) from None


def _read_only(connection: sa.Connection) -> dict[str, Any]:
    return {"postgresql_readonly": True} if connection.dialect.name == "postgresql" else {}
