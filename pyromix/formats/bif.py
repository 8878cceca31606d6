"""The Bayesian interchange format, BIF, as bnlearn and pgmpy write it.

Numbers are written with the shortest text that reads back as the same float64. The role of a
vertex, and with it the source, is kept in a property: ``property roles = {'latents'} ;``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from pyromix.errors import FileError
from pyromix.formats.network import Network, add_once, assemble, roles_of, table_of_words
from pyromix.formats.structure import parse_roles

_COMMENT = re.compile(r'("[^"]*")|/\*.*?\*/|//[^\n]*', re.DOTALL)
_BLOCK = re.compile(
    r"\s*(network|variable|probability)\b([^{}]*)\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", re.DOTALL
)
_TYPE = re.compile(r"type\s+discrete\s*\[\s*(\d+)\s*\]\s*\{([^{}]*)\}")
_ROLES = re.compile(r"property\s+roles\s*=(.*)", re.DOTALL)
_HEADER = re.compile(r"\(\s*(.*?)\s*\)\s*$", re.DOTALL)


def read_bif(text: str) -> Network:
    """Read a network.

    Raises:
        FileError: the text is no BIF, is cut short, or a table is incomplete.
    """
    text = _COMMENT.sub(lambda match: match.group(1) or " ", text)
    states: dict[str, tuple[str, ...]] = {}
    roles: dict[str, list[str]] = {}
    bodies: list[tuple[str, str]] = []
    for kind, head, body in _blocks(text):
        if kind == "variable":
            name = _unquoted(head)
            add_once("BIF", states, name, _states(name, body))
            for role in _roles(body):
                roles.setdefault(role, []).append(name)
        elif kind == "probability":
            bodies.append((head, body))
    parents: dict[str, tuple[str, ...]] = {}
    tables: dict[str, Tensor] = {}
    for head, body in bodies:
        name, given = _family(head, states)
        parents[name] = given
        add_once("BIF", tables, name, _table(name, given, states, body))
    return assemble("BIF", states, parents, tables, roles)


def write_bif(network: Network) -> str:
    """Return a network, whose names BIF can hold, as text."""
    return "".join(_lines(network))


def _lines(network: Network) -> Iterator[str]:
    yield "network unknown {\n}\n"
    for name in network.variables:
        states = network.states[name]
        yield f"variable {name} {{\n"
        yield f"  type discrete [ {len(states)} ] {{ {', '.join(map(str, states))} }};\n"
        if carried := roles_of(network, name):
            yield f"  property roles = {{{', '.join(map(repr, carried))}}} ;\n"
        yield "}\n"
    for name in network.variables:
        given = network.parents[name]
        rows = network.tables[name].reshape(-1, len(network.states[name])).tolist()
        yield f"probability ( {name}{' | ' if given else ''}{', '.join(given)} ) {{\n"
        if given:
            settings = itertools.product(*(network.states[p] for p in given))
            for setting, row in zip(settings, rows, strict=True):
                yield f"  ({', '.join(map(str, setting))}) {', '.join(map(repr, row))};\n"
        else:
            yield f"  table {', '.join(map(repr, rows[0]))};\n"
        yield "}\n"


def _blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Every block as (keyword, head, body); anything between blocks is an error."""
    at = 0
    while match := _BLOCK.match(text, at):
        yield match.group(1), match.group(2), match.group(3)
        at = match.end()
    if rest := text[at:].strip():
        line = text.count("\n", 0, len(text) - len(text[at:].lstrip())) + 1
        raise FileError(
            "BIF: expected a network, variable or probability block closed by '}', found "
            f"{rest[:40]!r} at line {line} (comments left out); is the file cut short?"
        )
    if at == 0:
        raise FileError("BIF: the file is empty")


def _unquoted(text: str) -> str:
    return text.strip().strip('"').strip()


def _states(name: str, body: str) -> tuple[str, ...]:
    match = _TYPE.search(body)
    if match is None:
        raise FileError(
            f"BIF: expected 'type discrete [ n ] {{ ... }}' for {name!r}, found {body.strip()!r}"
        )
    states = _items(match.group(2))
    if len(states) != int(match.group(1)):
        raise FileError(
            f"BIF: {name!r} announces {match.group(1)} states, found {len(states)}: {states}"
        )
    if len(set(states)) != len(states):
        raise FileError(f"BIF: states of {name!r} must be distinct, found {states}")
    return tuple(states)


def _items(text: str) -> list[str]:
    """Split a list at commas, or at spaces where it has none; quotes protect either."""
    if '"' in text:
        return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s,"]+)', text)]
    if "," in text:
        return [item.strip() for item in text.split(",") if item.strip()]
    return text.split()


def _roles(body: str) -> list[str]:
    found = (_ROLES.match(statement.strip()) for statement in body.split(";"))
    return [role for match in found if match for role in parse_roles(match.group(1))]


def _family(head: str, states: Mapping[str, Sequence[str]]) -> tuple[str, tuple[str, ...]]:
    """The variable of a probability block and its parents, in order."""
    match = _HEADER.search(head)
    if match is None:
        raise FileError(f"BIF: expected 'probability ( X | A, B )', found {head.strip()!r}")
    name, bar, given = match.group(1).partition("|")
    # The older form has no bar: `( X A B )`.
    whole = bool(bar) or _unquoted(name) in states
    family = [_unquoted(name), *_items(given)] if whole else _items(name)
    if not family:
        raise FileError("BIF: a probability block names no variable")
    if unknown := [n for n in family if n not in states]:
        raise FileError(f"BIF: probability block names {unknown}, which no variable block declares")
    return family[0], tuple(family[1:])


def _table(
    name: str, parents: tuple[str, ...], states: Mapping[str, Sequence[str]], body: str
) -> Tensor:
    """The table of one block, ``(*card(parents), card)``."""
    cards, card = [len(states[p]) for p in parents], len(states[name])
    n_rows = torch.Size(cards).numel()
    rows: dict[int, Tensor] = {}
    default: Tensor | None = None
    places = [{state: i for i, state in enumerate(states[p])} for p in parents]
    for statement in filter(None, map(str.strip, body.split(";"))):
        keyword = statement.split(None, 1)[0]
        if keyword == "table":
            # In a whole table the variable's own state is the slowest.
            words = _words(statement.removeprefix("table"))
            return table_of_words("BIF", name, (card, *cards), words).movedim(0, -1).contiguous()
        if keyword == "default":
            words = _words(statement.removeprefix("default"))
            default = table_of_words("BIF", name, (card,), words)
        elif statement.startswith("("):
            setting, _, numbers = statement[1:].rpartition(")")
            row = _row(name, parents, places, _items(setting))
            rows[row] = table_of_words("BIF", name, (card,), _words(numbers))
        elif keyword != "property":
            raise FileError(f"BIF: cannot read {statement[:60]!r} in the table of {name!r}")
    if default is not None:
        rows = {row: rows.get(row, default) for row in range(n_rows)}
    if len(rows) != n_rows:
        raise FileError(
            f"BIF: the table of {name!r} needs a row for each of {n_rows} settings of "
            f"{list(parents)}, found {len(rows)}; is the file cut short?"
        )
    return torch.stack([rows[row] for row in range(n_rows)]).reshape(*cards, card)


def _row(
    name: str,
    parents: tuple[str, ...],
    places: Sequence[Mapping[str, int]],
    setting: Sequence[str],
) -> int:
    if len(setting) != len(parents):
        raise FileError(
            f"BIF: a row of {name!r} must name a state of each of {list(parents)}, found "
            f"{list(setting)}"
        )
    row = 0
    for parent, place, state in zip(parents, places, setting, strict=True):
        if state not in place:
            raise FileError(
                f"BIF: a row of {name!r} names state {state!r} of {parent!r}, whose states are "
                f"{list(place)}"
            )
        row = row * len(place) + place[state]
    return row


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
