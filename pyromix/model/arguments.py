"""What arguments must be: one check for each kind of value, the same at every door.

A numpy number is a number, and a numpy text a text; ``True`` is no number, though Python holds it
equal to one. A check returns the plain Python value, or raises the error that the door gives.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from numbers import Integral, Real
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyromix.errors import FileError, PyromixError, QueryError, SpecError

MOST_SHOWN = 60
"""Characters of a value that a message repeats."""

LONGEST_NUMBER = 10**40
"""Integers beyond are not written out in a message; Python itself refuses from 4,300 digits on."""

PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, range)
"""Types of values that a message repeats; of others it says the type."""


def shown(value: object) -> str:
    """Return what a message says of a value: itself, cut where it is long, or its type."""
    if isinstance(value, Integral) and abs(int(value)) > LONGEST_NUMBER:
        return f"an integer of {int(value).bit_length()} bits"
    if isinstance(value, np.generic):
        return f"{value.item()!r} ({type(value).__name__})"
    if isinstance(value, Tensor | np.ndarray):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    if value is not None and value is not ... and not isinstance(value, PLAIN):
        return f"a {type(value).__name__}"
    if isinstance(value, str | bytes | list | tuple | range):
        value = value[: MOST_SHOWN + 1]
    elif isinstance(value, dict | set | frozenset) and len(value) > MOST_SHOWN:
        return f"a {type(value).__name__} of {len(value)}"
    try:
        text = repr(value)
    except ValueError:  # a number of more than 4,300 digits within
        return f"a {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def near_matches(name: object, known: Iterable[object]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known names close to a mistyped one."""
    by_text = {str(candidate): candidate for candidate in known}
    lowered = {text.lower(): text for text in by_text}
    close = difflib.get_close_matches(str(name).strip().lower(), lowered, n=3, cutoff=0.6)
    if not close:
        return ""
    return f" (did you mean {' or '.join(repr(by_text[lowered[c]]) for c in close)}?)"


def whole(
    name: str,
    value: Any,
    least: int,
    most: int | None = None,
    error: type[PyromixError] = QueryError,
    advice: str = "",
) -> int:
    """Return a whole number within bounds.

    Args:
        name: of the argument.
        value: what was given.
        least: smallest that is allowed.
        most: largest that is allowed; None for no bound.
        error: what the door raises.
        advice: what to try where it is too large.

    Raises:
        PyromixError: ``error``, naming argument, bounds and value.
    """
    found = _integer(value)
    if found is None or found < least:
        raise error(f"{name} must be an integer >= {least}, found {shown(value)}")
    if most is not None and found > most:
        raise error(
            f"{name} must be at most {most:,}, found {shown(value)}"
            f"{f'; {advice}' if advice else ''}"
        )
    return found


def real(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    ends: bool = False,
    error: type[PyromixError] = QueryError,
    advice: str = "",
) -> float:
    """Return a number between two bounds.

    Args:
        name: of the argument.
        value: what was given.
        low: lower bound.
        high: upper bound.
        ends: whether the bounds themselves are allowed.
        error: what the door raises.
        advice: what to try, at the end of the message.

    Raises:
        PyromixError: ``error``, naming argument, bounds and value.
    """
    found = as_number(value)
    if not (low < found < high or (ends and found in (low, high) and math.isfinite(found))):
        raise error(
            f"{name} must be {_range(low, high, ends)}, found {shown(value)}"
            f"{f'; {advice}' if advice else ''}"
        )
    return found


def as_number(value: Any) -> float:
    """Return a real number of any library as Python's own; nan where it is none."""
    value = _unpacked(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def level_of(value: Any, name: str = "level") -> float:
    """Return a level: of an interval, or of tests.

    Raises:
        QueryError: it is no number between 0 and 1.
    """
    return real(name, value, 0.0, 1.0, advice=f"e.g. {name}=0.95")


def one_of(
    name: str, value: Any, choices: Collection[str], error: type[PyromixError] = QueryError
) -> str:
    """Return a text that is one of several.

    Raises:
        PyromixError: ``error``, naming them all.
    """
    if not isinstance(value, str) or value not in choices:
        near = near_matches(value, choices) if isinstance(value, str) else ""
        raise error(f"{name} must be one of {list(choices)}, found {shown(value)}{near}")
    return str(value)


def flag(name: str, value: Any) -> bool:
    """Return whether a switch is on.

    Raises:
        QueryError: neither True nor False.
    """
    if not isinstance(value, bool | np.bool_):
        raise QueryError(f"{name} must be True or False, found {shown(value)}")
    return bool(value)


def name_of(name: str, value: Any, error: type[PyromixError] = SpecError) -> str:
    """Return the name of a variable.

    Raises:
        PyromixError: ``error``; it is no text, or an empty one.
    """
    if not isinstance(value, str) or not value:
        raise error(f"{name} must be the name of a variable, found {shown(value)}")
    return str(value)


def path_of(path: Any) -> Path:
    """Return a path to a file.

    Raises:
        FileError: neither a text nor a path, or one that no system can hold.
    """
    if not isinstance(path, str | PathLike) or not isinstance(fspath(path), str):
        raise FileError(f"expected a path to a file as text or pathlib.Path, found {shown(path)}")
    text = fspath(path)
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise FileError(f"expected a path that a file can have, found {text[:MOST_SHOWN]!a}")
    return Path(path)


def mapping(
    name: str, value: Any, what: str, error: type[PyromixError] = SpecError
) -> dict[Any, Any]:
    """Return a copy of a mapping.

    Args:
        name: of the argument.
        value: what was given; None for nothing.
        what: what it maps to what, for the message.
        error: what the door raises.

    Raises:
        PyromixError: ``error``.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise error(f"{name} must map {what}, found {shown(value)}")
    return dict(value)


def listed(
    name: str, value: Any, what: str, error: type[PyromixError] = SpecError
) -> tuple[Any, ...]:
    """Return what a list, or another iterable, holds; a text holds its letters.

    Args:
        name: of the argument.
        value: what was given.
        what: the items are, for the message.
        error: what the door raises.

    Raises:
        PyromixError: ``error``.
    """
    if isinstance(value, bytes | Tensor) or not isinstance(value, Iterable):
        raise error(f"{name} must be a list of {what}, found {shown(value)}")
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise error(f"{name} must be a list of {what}, found {shown(value)}")
    return tuple(value)


def nested(
    name: str, value: Any, what: str, error: type[PyromixError] = SpecError
) -> tuple[tuple[Any, ...], ...]:
    """Return what a list of lists holds.

    Args:
        name: of the argument.
        value: what was given.
        what: the items of the inner lists are, for the message.
        error: what the door raises.

    Raises:
        PyromixError: ``error``.
    """
    outer = listed(name, value, f"lists of {what}", error)
    return tuple(listed(f"each of the {name}", inner, what, error) for inner in outer)


def plain(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return values with numpy scalars as the Python values that they equal."""
    return tuple(v.item() if isinstance(v, np.generic) else v for v in values)


def keep(record: object, name: str, value: object) -> None:
    """Set an attribute of a frozen record while it is made, to the plain form of what was given."""
    object.__setattr__(record, name, value)


def is_whole(value: Any, least: int, most: int) -> bool:
    """Whether a value is a whole number within bounds."""
    found = _integer(value)
    return found is not None and least <= found <= most


def is_integer(table: Tensor) -> bool:
    """Whether a tensor holds whole numbers that can be looked at."""
    dtype = table.dtype
    return not (dtype is torch.bool or dtype.is_floating_point or dtype.is_complex or table.is_meta)


def is_state(value: Any) -> bool:
    """Whether a value can be a state: it can be looked up, and is one value."""
    if not isinstance(value, Hashable) or isinstance(value, Tensor):
        return False
    try:
        hash(value)
        return isinstance(value == value, bool | np.bool_)  # of pandas.NA it is neither
    except TypeError:
        return False


def numbers_as_tensor(
    name: str,
    value: Any,
    device: torch.device | str = "cpu",
    error: type[PyromixError] = SpecError,
) -> Tensor:
    """Return a number, or numbers in lists or an array, as a float64 tensor.

    Raises:
        PyromixError: ``error``; these are no real numbers.
    """
    try:
        if isinstance(value, Tensor) and (value.is_meta or value.is_complex()):
            raise TypeError
        if isinstance(value, str | bytes | Mapping | bool | np.bool_) or value is None:
            raise TypeError
        return torch.as_tensor(value, dtype=torch.float64, device=device).detach()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise error(f"{name}: expected numbers, found {shown(value)}") from None


def device_of(device: Any) -> torch.device:
    """Return a device that this machine has, and that computes in double precision.

    Raises:
        QueryError: it has not, or there is none of this name.
    """
    try:
        if not isinstance(device, str | torch.device):
            raise TypeError
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise QueryError(f"unknown device {shown(device)}; e.g. 'cpu' or 'cuda'") from None
    if found.type not in ("cpu", "cuda"):
        raise QueryError(
            f"device {str(found)!r}: expected 'cpu' or 'cuda', whose numbers have double precision"
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise QueryError(f"device {str(found)!r} is not to be had on this machine; take 'cpu'")
    return found


def _integer(value: Any) -> int | None:
    """A whole number of any library as Python's own; None where it is none."""
    value = _unpacked(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        return None
    return int(value)


def _unpacked(value: Any) -> Any:
    """The one number of an array or tensor without axes; anything else as it is."""
    if isinstance(value, np.ndarray) and not value.ndim:
        return value.item()
    if isinstance(value, Tensor) and not value.ndim and not value.is_meta:
        return value.item()
    return value


def _range(low: float, high: float, ends: bool) -> str:
    """Bounds in words."""
    if math.isinf(low) and math.isinf(high):
        return "a finite number"
    if math.isinf(high):
        return f"a finite number {'>=' if ends else '>'} {low:g}"
    between = f"from {low:g} to {high:g}" if ends else f"between {low:g} and {high:g}"
    return f"a number {between}"
