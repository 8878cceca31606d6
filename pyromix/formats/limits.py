"""How large a file may become in memory: worked out from what it announces, refused by name."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Mapping, Sequence
from gzip import GzipFile
from math import prod

from pyromix.errors import FileError

LIMIT_VARIABLE = "PYROMIX_FILE_LIMIT"
"""The environment variable that raises the limit, in MiB."""

DEFAULT_LIMIT = 256
"""MiB that the tables of one network file, or an unpacked bundle, may take."""

TEXT_SHARE = 4
"""Unpacked text takes about four times its size while it is read."""

PLAIN_RATIO = 100
"""Times its size that real data, however regular, hardly ever unpack to."""

MIB = 2**20


def file_limit() -> int:
    """Return the limit in bytes.

    Raises:
        FileError: the environment variable holds no positive whole number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "") or str(DEFAULT_LIMIT)
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text)):
        raise FileError(
            f"the environment variable {LIMIT_VARIABLE} must be a whole number of MiB, at least 1, "
            f"found {text[:20]!r}"
        )
    return int(text) * MIB


def how_to_raise(n_bytes: int) -> str:
    """Say which setting would let so many bytes through."""
    return f"if the file is meant so, set {LIMIT_VARIABLE}={-(-n_bytes // MIB)} (MiB)"


def gunzipped(content: bytes) -> bytes:
    """Return what a gzip file holds.

    Raises:
        FileError: the file is damaged, or holds more text than the limit allows.
    """
    largest = file_limit() // TEXT_SHARE
    try:
        with GzipFile(fileobj=io.BytesIO(content)) as file:
            text = file.read(largest + 1)
            if len(text) > largest:
                raise FileError(
                    f"expected at most {largest // MIB} MiB of text, found {len(content):,} bytes "
                    f"of gzip that unpack to more; {how_to_raise(2 * largest * TEXT_SHARE)}"
                )
            return text
    except FileError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"expected gzip, found: {error}") from error


def check_unpacked(n_bytes: int, n_packed: int) -> None:
    """Refuse a bundle that would unpack to far more than its size.

    Args:
        n_bytes: unpacked, as its members announce.
        n_packed: size of the file.

    Raises:
        FileError: names both sizes, and the limit.
    """
    limit = file_limit()
    if n_bytes > limit and n_bytes > PLAIN_RATIO * n_packed:
        raise FileError(
            f"expected a bundle that unpacks to at most {limit // MIB} MiB or {PLAIN_RATIO} times "
            f"its size, found one of {n_packed:,} bytes that unpacks to {n_bytes:,}; "
            f"{how_to_raise(n_bytes)}"
        )


def check_cells(label: str, shapes: Mapping[str, Sequence[int]], copies: int = 1) -> None:
    """Refuse tables that would not fit, before any is made.

    Args:
        label: of the format.
        shapes: of the table of each variable.
        copies: how often each table is held.

    Raises:
        FileError: names the largest table, its size, and the limit.
    """
    sizes = {name: 8 * prod(shape) for name, shape in shapes.items()}
    total, limit = copies * sum(sizes.values()), file_limit()
    if total > limit:
        worst = max(sizes, key=sizes.__getitem__)
        raise FileError(
            f"{label}: expected tables of at most {limit // MIB} MiB together, found "
            f"{-(-total // MIB):,} MiB; the largest, of {worst!r} with {len(shapes[worst]) - 1} "
            f"parents, has {sizes[worst] // 8:,} numbers; leave parents out, or "
            f"{how_to_raise(total)}"
        )
