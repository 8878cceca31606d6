"""How figures are written: as many digits as mean something."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from pyromix.criticism.discrepancy import LEAST_P

Number = float | int | np.floating


def share(value: Number) -> str:
    """A probability."""
    return f"{value:.3f}"


def signed(value: Number) -> str:
    """A difference of probabilities."""
    return f"{value:+z.3f}"


def between(low: Number, high: Number, form: str = "+z.3f") -> str:
    """An interval."""
    return f"[{low:{form}}, {high:{form}}]"


def points(value: Number) -> str:
    """A difference of probabilities in percentage points."""
    return f"{100 * value:+z.1f}"


def points_between(low: Number, high: Number) -> str:
    """An interval in percentage points."""
    return f"{points(low)} to {points(high)}"


def small(value: Number) -> str:
    """A figure of any size, three digits; rounding noise is zero."""
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"


def count(value: Number) -> str:
    """Rows."""
    return f"{value:,.0f}" if math.isclose(value, round(value)) else f"{value:,.1f}"


def braces(names: Iterable[str], limit: int = 8) -> str:
    """``{A, B}``."""
    listed = list(names)
    more = f", and {len(listed) - limit} more" if len(listed) > limit else ""
    return "{" + ", ".join(listed[:limit]) + more + "}"


def ordinal(number: int) -> str:
    """``2nd``."""
    if 10 < number % 100 < 14:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def finite(value: float) -> float | None:
    """A number that JSON has; None for nan and infinities."""
    return value if math.isfinite(value) else None


def p_value(value: Number) -> str:
    """Two digits, as far as tails are known."""
    return f"{value:.2g}" if value >= LEAST_P else f"< {LEAST_P:g}"
