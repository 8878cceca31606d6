"""How large tables may become: worked out before any is made, refused by name."""

from __future__ import annotations

import os

from pyromix.errors import PyromixError, SpecError

LIMIT_VARIABLE = "PYROMIX_MEMORY_LIMIT"
"""The environment variable that raises the limit, in MiB."""

DEFAULT_LIMIT = 2048
"""MiB that the numbers of one result, or one table of a sum, may take."""

MIB = 2**20


def memory_limit() -> int:
    """Return the limit in bytes.

    Raises:
        SpecError: the environment variable holds no positive whole number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "") or str(DEFAULT_LIMIT)
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text)):
        raise SpecError(
            f"the environment variable {LIMIT_VARIABLE} must be a whole number of MiB, at least 1, "
            f"found {text[:20]!r}"
        )
    return int(text) * MIB


def how_to_raise(n_bytes: int) -> str:
    """Say which setting would let so many bytes through."""
    return f"set the environment variable {LIMIT_VARIABLE}={-(-n_bytes // MIB)} (MiB)"


def check_numbers(
    what: str, n_numbers: int, advice: str, error: type[PyromixError] = SpecError
) -> None:
    """Refuse what would not fit, before it is made.

    Args:
        what: is to be made, in words.
        n_numbers: of eight bytes, that it holds.
        advice: what to ask for instead.
        error: what the door raises.

    Raises:
        PyromixError: ``error``, naming size and limit, and how to raise it.
    """
    n_bytes, limit = 8 * n_numbers, memory_limit()
    if n_bytes > limit:
        raise error(
            f"{what}: expected at most {in_words(limit)}, found {in_words(n_bytes)}; {advice}, or "
            f"{how_to_raise(n_bytes)}"
        )


def in_words(n_bytes: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= size:
            many = n_bytes >= 1000 * size  # perhaps more than a float can hold
            return f"{n_bytes // size:,} {unit}" if many else f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"
