"""Whoever runs a query: DuckDB upon its own relations, Ibis upon the tables of any backend.

A query is a text of SQL in DuckDB's dialect upon a table called ``relation``. DuckDB takes it as it
is: its enums keep their states, and nothing is compiled. Ibis puts it into the dialect of its
backend. A table of Ibis' own DuckDB is taken as the relation that it is: Ibis 12 can neither read
batches from DuckDB 2 nor take a text there, where ``fetch_record_batch`` is gone.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import narwhals.stable.v2 as nw

from pyromix.data.relation.sql import NAME, kind_of_duckdb, named, quoted_name
from pyromix.errors import DataError, FileError

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

ARRAY_BITS = 21
"""Groups whose keys have so many bits are an array in DuckDB, which takes half the time of a hash
table: 16 MB a thread for each sum."""

EXTRA = "pip install 'pyromix[sql]'"
"""What brings both libraries."""


Worker = Callable[[Iterator["pa.RecordBatch"]], Iterator["pa.RecordBatch"]]
"""Runs on each worker."""


@runtime_checkable
class Engine(Protocol):
    """Runs queries upon one table."""

    @property
    def kinds(self) -> Mapping[str, str]:
        """What each column holds, see ``sql.KINDS``."""
        ...

    @property
    def types(self) -> Mapping[str, str]:
        """The type of each column, by the engine's own name; columns of one go into one query."""
        ...

    def answer(self, query: str) -> pa.Table:
        """Run a query to its end.

        Raises:
            DataError, FileError: the engine could not.
        """
        ...

    def batches(self, query: str, n_rows: int) -> Iterator[pa.RecordBatch]:
        """Run a query and hand out what it finds, about ``n_rows`` rows at a time.

        Raises:
            DataError, FileError: the engine could not.
        """
        ...

    def at_random(self, share: float) -> str:
        """SQL that holds for a share of the rows, drawn at random."""
        ...

    def joined(self, keys: Mapping[str, str], found: pa.Table) -> Any:
        """The table with the columns of another, as the user's own library holds tables.

        Args:
            keys: SQL upon the table, by the names of the columns of ``found`` that it must equal.
            found: has these and further columns.

        Raises:
            DataError, FileError: the engine could not.
        """
        ...


@runtime_checkable
class Partitioned(Protocol):
    """An engine some of whose tables lie on workers that run Python."""

    def on_workers(self, query: str, work: Worker, schema: str) -> list[Any] | None:
        """What workers make of the rows that each has of a query; None where none run Python.

        Args:
            query: as in ``Engine``.
            work: makes batches of batches, where the rows are.
            schema: of what it makes, as Spark writes types.

        Raises:
            DataError: the engine could not.
        """
        ...


@dataclass(frozen=True, eq=False)
class DuckDBEngine:
    """DuckDB, upon a relation of its own.

    Attributes:
        relation: that relation.
        kinds: what its columns hold.
        types: by their names in DuckDB.
        connection: where other tables can be registered; None where DuckDB finds them itself.
    """

    relation: Any
    kinds: Mapping[str, str]
    types: Mapping[str, str]
    connection: Any = None

    def answer(self, query: str) -> pa.Table:
        """Run a query to its end; see ``Engine``."""
        with _duckdb_errors():
            return self.relation.query(NAME, query).to_arrow_table()

    def batches(self, query: str, n_rows: int) -> Iterator[pa.RecordBatch]:
        """Run a query, a batch at a time; see ``Engine``."""
        with _duckdb_errors():
            yield from _batches_of(self.relation.query(NAME, query), n_rows)

    def at_random(self, share: float) -> str:
        """SQL that holds for a share of the rows; see ``Engine``."""
        return f"RANDOM() < {share!r}"

    def joined(self, keys: Mapping[str, str], found: pa.Table) -> Any:
        """The table with the columns of another; see ``Engine``."""
        # DuckDB finds a table that SQL names among the variables of whoever asks, if it may
        patterns, there = found, "patterns"
        if self.connection is not None:
            there = _new_name()
            self.connection.register(there, patterns)
        new = [quoted_name(name) for name in found.column_names if name not in keys]
        on = " AND ".join(f"{there}.{key} = {sql}" for key, sql in keys.items())
        columns = ", ".join([f"{NAME}.*", *new])
        with _duckdb_errors():
            text = f"SELECT {columns} FROM {NAME} LEFT JOIN {there} ON {on}"
            return self.relation.query(NAME, text)


@dataclass(frozen=True, eq=False)
class IbisEngine:
    """Any backend of Ibis.

    Attributes:
        table: of that backend.
        view: the same, under a name that SQL can use.
        name: that name.
        kinds: what its columns hold.
        types: by their names in Ibis.
    """

    table: ir.Table
    view: ir.Table
    name: str
    kinds: Mapping[str, str]
    types: Mapping[str, str]

    def answer(self, query: str) -> pa.Table:
        """Run a query to its end; see ``Engine``."""
        with _ibis_errors():
            return self._asked(query).to_pyarrow()

    def batches(self, query: str, n_rows: int) -> Iterator[pa.RecordBatch]:
        """Run a query, a batch at a time; see ``Engine``."""
        with _ibis_errors():
            yield from self._asked(query).to_pyarrow_batches(chunk_size=n_rows)

    def at_random(self, share: float) -> str:
        """SQL that holds for a share of the rows; see ``Engine``."""
        if self.table.get_backend().name == "sqlite":  # whose numbers are integers
            return f"ABS(RANDOM() % 1000000000) < {int(share * 1e9)}"
        return f"RANDOM() < {share!r}"

    def joined(self, keys: Mapping[str, str], found: pa.Table) -> ir.Table:
        """The table with the columns of another; see ``Engine``."""
        import ibis

        columns = ", ".join(["*", *named(keys)])
        new = [name for name in found.column_names if name not in keys]
        with _ibis_errors():
            keyed = self._asked(f"SELECT {columns} FROM {NAME}")
            joined = keyed.left_join(ibis.memtable(found), list(keys))
            return joined[[*self.table.columns, *new]]

    def on_workers(self, query: str, work: Worker, schema: str) -> list[Any] | None:
        """What workers of Spark make of a query; see ``Partitioned``."""
        backend: Any = self.table.get_backend()
        if backend.name != "pyspark":
            return None
        with _ibis_errors(), _lacking_modules():
            found = backend._session.sql(str(backend.compile(self._asked(query))))
            return found.mapInArrow(work, schema).collect()

    def _asked(self, query: str) -> ir.Table:
        text = re.sub(rf"(FROM|JOIN) {NAME}\b", rf"\1 {quoted_name(self.name)}", query)
        return self.view.sql(text, dialect="duckdb")


def engine_of(data: Any) -> Engine | None:
    """What runs queries upon a relation of DuckDB or a table of Ibis; None for anything else.

    Raises:
        DataError: the backend cannot give the table a name.
    """
    if nw.dependencies.is_duckdb_relation(data):
        return _of_duckdb(data)
    if nw.dependencies.is_ibis_table(data):
        backend: Any = data.get_backend()
        if backend.name == "duckdb":
            with _duckdb_errors():
                relation = backend.con.sql(str(backend.compile(data)))
            return _of_duckdb(relation, backend.con)
        return _of_ibis(data)
    return None


def engine_of_query(text: str) -> Engine:
    """An engine upon what a text of SQL finds in an embedded DuckDB of its own.

    Raises:
        DataError, FileError: DuckDB is not installed, or could not read it.
    """
    try:
        import duckdb
    except ImportError as error:
        raise DataError(
            f"files outside memory need DuckDB, which cannot be imported ({error}); {EXTRA}, or "
            "pass a data frame"
        ) from None
    connection = duckdb.connect()
    with _duckdb_errors():
        connection.execute(f"SET perfect_ht_threshold = {ARRAY_BITS}")
        return _of_duckdb(connection.sql(text))


def _new_name() -> str:
    return f"pyromix_{secrets.token_hex(6)}"


def _of_duckdb(relation: Any, connection: Any = None) -> DuckDBEngine:
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    kinds = {name: kind_of_duckdb(kind) for name, kind in types.items()}
    return DuckDBEngine(relation, kinds, types, connection)


def _of_ibis(table: ir.Table) -> IbisEngine:
    name = _new_name()
    with _ibis_errors():
        view = table.alias(name)
    kinds = {
        column: "boolean" if kind.is_boolean()
        else "integer" if kind.is_integer()
        else "number" if kind.is_numeric()
        else "text" if kind.is_string()
        else "other"
        for column, kind in table.schema().items()
    }  # fmt: skip
    types = {column: str(kind) for column, kind in table.schema().items()}
    return IbisEngine(table, view, name, kinds, types)


def _batches_of(found: Any, n_rows: int) -> Iterator[pa.RecordBatch]:
    reader = getattr(found, "to_arrow_reader", None) or found.fetch_record_batch
    stream = reader(n_rows)
    try:
        yield from stream
    finally:
        stream.close()  # a connection has one open result


@contextmanager
def _duckdb_errors() -> Iterator[None]:
    import duckdb

    # What happens while batches are read comes through Arrow, as its errors
    try:
        yield
    except (duckdb.Error, OSError, *_errors_of(("pyarrow", "ArrowException"))) as error:
        lost = isinstance(error, duckdb.IOException) or str(error).startswith("IO Error")
        kind = FileError if lost else DataError
        raise kind(f"DuckDB could not read the table: {_cause(error)}") from None


BACKENDS = (
    ("ibis.common.exceptions", "IbisError"),
    ("pyarrow", "ArrowException"),
    ("sqlite3", "Error"),
    ("pyspark.errors", "PySparkException"),
    ("py4j.protocol", "Py4JError"),
    ("psycopg", "Error"),
    ("snowflake.connector.errors", "Error"),
    ("google.api_core.exceptions", "GoogleAPIError"),
)
"""Modules, and what they raise: Ibis lets errors of the libraries below it pass."""


@contextmanager
def _ibis_errors() -> Iterator[None]:
    try:
        yield
    except _errors_of(*BACKENDS) as error:
        raise DataError(f"Ibis could not ask for it: {_cause(error)}") from None


@contextmanager
def _lacking_modules() -> Iterator[None]:
    try:
        yield
    except _errors_of(("pyspark.errors", "PySparkException")) as error:
        if lacking := re.search(r"No module named '([^']*)'", str(error)):
            raise DataError(
                f"the workers of Spark need pyromix, and lack the module {lacking[1]!r}; install "
                "it where they run: PYSPARK_PYTHON names their Python"
            ) from None
        raise


def _errors_of(*named: tuple[str, str]) -> tuple[type[Exception], ...]:
    """Exceptions by module and name, of modules that somebody has imported."""
    return tuple(getattr(sys.modules[m], name) for m, name in named if m in sys.modules)


def _cause(error: Exception) -> str:
    """What went wrong, without the advice that SQL alone can follow."""
    said = " ".join(str(error).split())
    advice = r" Possible (?:fixes|solutions):| See also | Launch the | You can adjust | LINE \d+:"
    return re.split(advice, said)[0][:400]
