"""Structures that people write: a TOML spec, or edges as ``A -> B``.

::

    edges = ["Z -> X", "X -> Y", "Z -> Y"]
    latent = "U"                # influences every variable unless edges of it are listed
    n_sources = 2
    treatment = "X"
    outcome = "Y"
    uninfluenced = ["Z"]

    [states]
    X = ["control", "treated"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pyromix.errors import FileError, SpecError
from pyromix.formats.structure import DEFAULT_SOURCE, LATENTS, Structure, build_structure
from pyromix.formats.words import shown
from pyromix.model.spec import near_matches

KEYS = (
    "edges",
    "variables",
    "latent",
    "n_sources",
    "states",
    "uninfluenced",
    "treatment",
    "outcome",
    "roles",
)
"""What a TOML spec may say."""

MOST_SOURCES = 10_000
"""Largest k that a spec may ask for; tables of each source have to be held."""

DEEPEST_KEY = 32
"""Parts that a dotted key may have; a spec needs two."""

# A closed or an unclosed string, whichever: what matches never has to be tried again.
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?|'
    r"'''(?:[^']|'(?!''))*+(?:''')?|"
    r'"(?:[^"\\\n]|\\.)*+"?|'
    r"'[^'\n]*+'?",
    re.DOTALL,
)
_BARE = re.compile(r"[ \t]*[A-Za-z0-9_-]+[ \t]*")


def read_toml(text: str) -> Structure:
    """Read a structure.

    Raises:
        FileError: the text is no TOML.
        SpecError: an unknown key, a value of a wrong kind, or a graph that is not usable.
    """
    _refuse_long_keys(text)
    try:
        fields = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a long integer, and deep brackets
        raise FileError(f"expected TOML, found: {shown(str(error), 200)[1:-1]}") from error
    for key in fields:
        if key not in KEYS:
            raise SpecError(
                f"unknown key {shown(key)}{near_matches(key[:40], KEYS)}; a spec may say "
                f"{', '.join(KEYS)}"
            )
    states = _table(fields, "states")
    roles = {
        role: _strings(f"roles.{role}", names) for role, names in _table(fields, "roles").items()
    }
    for key, role in (("treatment", "exposures"), ("outcome", "outcomes")):
        if key in fields:
            value = fields[key]
            names = [value] if isinstance(value, str) else value
            roles[role] = [*roles.get(role, []), *_strings(key, names)]
    if "latent" in fields and not isinstance(fields["latent"], str):
        raise SpecError(f"latent must be a name, found {shown(fields['latent'])}")
    n_sources = fields.get("n_sources")
    if n_sources is not None and type(n_sources) is not int:
        raise SpecError(f"n_sources must be an integer >= 1, found {shown(n_sources)}")
    if n_sources is not None and n_sources > MOST_SOURCES:
        raise SpecError(f"n_sources must be at most {MOST_SOURCES:,}, found {n_sources:,}")
    return edges_to_structure(
        _strings("edges", fields.get("edges", [])),
        latent=fields.get("latent"),
        n_sources=n_sources,
        variables=_strings("variables", fields.get("variables", [])),
        states={name: _states(name, names) for name, names in states.items()},
        uninfluenced=(
            _strings("uninfluenced", fields["uninfluenced"]) if "uninfluenced" in fields else None
        ),
        roles=roles,
    )


def edges_to_structure(
    edges: Sequence[str],
    latent: str | None = None,
    *,
    n_sources: int | None = None,
    variables: Sequence[str] = (),
    states: Mapping[str, Sequence[Hashable]] | None = None,
    uninfluenced: Sequence[str] | None = None,
    roles: Mapping[str, Sequence[str]] | None = None,
) -> Structure:
    """Return the structure that a list of edges describes.

    Args:
        edges: ``"A -> B"``, or a chain ``"A -> B -> C"``. The order of the edges into a vertex is
            the order of its parents.
        latent: name of the source. Where edges of it are listed they are honoured; otherwise it
            influences every variable that is not in ``uninfluenced``.
        n_sources: k.
        variables: names that come first, in this order; needed for variables without an edge.
        states: state names where known, those of the source included.
        uninfluenced: variables without an edge from the source.
        roles: names of the variables that carry each role.

    Raises:
        SpecError: an edge that cannot be read or stands twice, contradictions about the source,
            or a graph that is not usable.
    """
    parents: dict[str, list[str]] = {name: [] for name in variables}
    seen: set[tuple[str, str]] = set()
    if len(parents) != len(variables):
        raise SpecError(f"variables are listed twice in {shown(list(variables))}")
    for parent, child in (pair for edge in edges for pair in pairs_of(edge)):
        if (parent, child) in seen:
            raise SpecError(f"the edge '{parent} -> {child}' stands twice")
        seen.add((parent, child))
        parents.setdefault(parent, [])
        parents.setdefault(child, []).append(parent)
    states, roles = dict(states or {}), dict(roles or {})
    listed = latent is not None and any(latent in given for given in parents.values())
    if listed and uninfluenced is not None:
        raise SpecError(
            f"edges of {latent!r} and `uninfluenced` both say whom it influences; keep one of them"
        )
    if latent is not None or uninfluenced is not None:
        source = DEFAULT_SOURCE if latent is None else latent
        spared = dict.fromkeys(uninfluenced or ())
        if latent is None and source in parents:
            raise SpecError(f"{source!r} has edges: declare it, latent = {source!r}, or rename it")
        if unknown := [name for name in spared if name not in parents]:
            raise SpecError(
                f"uninfluenced: {unknown} are not among the variables {shown(list(parents))}"
            )
        own = parents.pop(source, [])
        if not listed:
            for name, given in parents.items():
                given[:0] = [] if name in spared else [source]
        parents = {source: own, **parents}
        roles[LATENTS] = [source]
    for label, names in (("states", states), *roles.items()):
        if unknown := [name for name in names if name not in parents]:
            raise SpecError(
                f"{label}: {unknown[0]!r} is not among the variables"
                f"{near_matches(unknown[0], parents)}; they are {shown(list(parents))}"
            )
    structure = build_structure(parents, states=states, roles=roles)
    if n_sources is None:
        return structure
    return replace(structure, n_sources=structure.agreed_n_sources(n_sources))


def _refuse_long_keys(text: str) -> None:
    """Refuse a dotted key of many parts, whose cost is quadratic in their number.

    Raises:
        FileError: names the key.
    """
    run = 0
    for part in _STRING.sub("q", text).split("."):
        run = run + 1 if _BARE.fullmatch(part) else 0
        if run > DEEPEST_KEY:
            raise FileError(
                f"expected TOML keys of at most two parts, found one of more than {DEEPEST_KEY} "
                f"near {shown(part.strip(), 20)}"
            )


def pairs_of(edge: str) -> list[tuple[str, str]]:
    """Edges of ``"A -> B"``, or of a chain ``"A -> B -> C"``.

    Raises:
        SpecError: a text of another form.
    """
    names = [name.strip() for name in edge.split("->")]
    if len(names) < 2 or not all(names):
        raise SpecError(f"an edge reads 'A -> B', found {shown(edge)}")
    return list(pairwise(names))


def _table(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = fields.get(key, {})
    if not isinstance(table, Mapping):
        raise SpecError(f"{key} must be a table [{key}], found {shown(table)}")
    return table


def _strings(key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SpecError(f"{key} must be a list of strings, found {shown(value)}")
    return value


def _states(name: str, value: Any) -> tuple[Hashable, ...]:
    kept = isinstance(value, list) and all(isinstance(s, str | bool | int | float) for s in value)
    if not kept:
        raise SpecError(
            f"states of {name!r} must be a list of strings, numbers or booleans, found "
            f"{shown(value)}"
        )
    return tuple(value)
