"""What a relation costs: counting against a plain scan, a stream against the optimum.

    python tests/studies/relations.py count 100000000 20
    python tests/studies/relations.py stream 1000000 50

Tables are Parquet files that DuckDB draws from a mixture of three sources in a folder of their own,
which is removed. Prints ratios of seconds of processor, all threads together, and the peak memory
of this process, its engine included.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import duckdb

import pyromix as px

N_SOURCES = 3


def written(folder: Path, n_rows: int, n_variables: int) -> str:
    """Draw a table: P(v_i = 1 | u) is spread over the sources and the variables."""
    connection = duckdb.connect()
    part = 10_000_000
    for start in range(0, n_rows, part):
        chances = [_chance(i) for i in range(n_variables)]
        columns = ", ".join(f"CAST({sql} AS TINYINT) AS v{i}" for i, sql in enumerate(chances))
        rows = f"SELECT floor(random() * {N_SOURCES}) AS u FROM range({min(part, n_rows - start)})"
        target = folder / f"{start}.parquet"
        connection.sql(f"COPY (SELECT {columns} FROM ({rows})) TO '{target}' (FORMAT parquet)")
    connection.close()
    return str(folder / "*.parquet")


def _chance(i: int) -> str:
    """Whether a variable is 1, given the source."""
    spread = [0.1 + 0.8 * ((7 * i + 5 * u * u + 3 * u * i) % 11) / 10 for u in range(N_SOURCES)]
    cases = " ".join(f"WHEN {u} THEN {p}" for u, p in enumerate(spread))
    return f"(random() < CASE u {cases} END)"


def timed(action, *arguments, **options):
    start = time.process_time()
    found = action(*arguments, **options)
    return time.process_time() - start, found


def scan(files: str, n_variables: int) -> None:
    sums = ", ".join(f"sum(v{i})" for i in range(n_variables))
    connection = duckdb.connect()
    connection.sql(f"SELECT {sums} FROM read_parquet('{files}')").fetchall()
    connection.close()


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def count(files: str, n_rows: int, n_variables: int) -> None:
    names = tuple(f"v{i}" for i in range(n_variables))
    schema = px.Schema(names, ((0, 1),) * n_variables)
    seconds = min(timed(scan, files, n_variables)[0] for _ in range(2))
    before = memory()
    size = sum(path.stat().st_size for path in Path(files).parent.glob("*.parquet"))
    whole, counts = timed(px.Counts.from_frame, files, schema)
    print(
        f"count {n_rows:.0e} x {n_variables}: scan {seconds:.2f} s, counted in {whole:.2f} s, "
        f"{whole / seconds:.2f} times the scan; {counts.n_patterns:,} patterns; peak "
        f"{memory():.2f} GiB (before {before:.2f}); {size / n_rows:.2f} bytes a row on the disk"
    )


def stream(files: str, n_rows: int, n_variables: int) -> None:
    spec = px.MixtureSpec.from_parents({f"v{i}": (0, 1) for i in range(n_variables)}, {}, N_SOURCES)
    seconds = min(timed(scan, files, n_variables)[0] for _ in range(2))
    options = {"n_init": 1, "prior": None, "random_state": 0}
    whole, fit = timed(px.fit, spec, files, memory_limit="1MB", **options)
    streamed = memory()
    print(
        f"stream {n_rows:.0e} x {n_variables}: scan {seconds:.2f} s, fit in {whole:.1f} s of "
        f"{fit.n_iter} passes, {whole / seconds / (fit.n_iter + 3):.1f} times the scan a pass; "
        f"peak {streamed:.2f} GiB; {'converged' if fit.converged else 'NOT converged'}"
    )
    frame = duckdb.sql(f"SELECT * FROM read_parquet('{files}')").arrow()
    _, held = timed(px.fit, spec, frame, **options)
    print(f"nats below the optimum in memory: {held.log_likelihood - fit.log_likelihood:.3f}")


if __name__ == "__main__":
    what, n_rows, n_variables = sys.argv[1], int(float(sys.argv[2])), int(sys.argv[3])
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="pyromix-study-"))
    try:
        run = {"count": count, "stream": stream}[what]
        run(written(folder, n_rows, n_variables), n_rows, n_variables)
    finally:
        shutil.rmtree(folder)
