"""The Bayesian interchange format, BIF, as bnlearn and pgmpy write it.

Numbers are written with the shortest text that reads back as the same float64. The role of a
vertex, and with it the source, is kept in a property: ``property roles = {'latents'} ;``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from pyromix.errors import FileError
from pyromix.formats.limits import check_cells
from pyromix.formats.network import (
    Network,
    add_once,
    assemble,
    check_states,
    numbers_of_words,
    roles_by_name,
    table_of_words,
)
from pyromix.formats.structure import parse_roles
from pyromix.formats.words import shown, without_comments

_OPENING = re.compile(r"\s*(network|variable|probability)\b([^{}]*)\{")
# Quotes end with their line, so that a lone one does no harm beyond it.
_BRACE = re.compile(r'"[^"\n]*"|[{}]')
_BREAK = re.compile(r'"[^"\n]*"|[{};]')
_COMMA = re.compile(r'"[^"\n]*"|,')
_TYPE = re.compile(r"type\s+discrete\s*\[\s*(\d{1,9})\s*\]\s*\{([^{}]*)\}")
_PROPERTY = re.compile(r"property\b")
_ROLES = re.compile(r"property\s+roles\s*=(.*)", re.DOTALL)


def read_bif(text: str) -> Network:
    """Read a network.

    Raises:
        FileError: the text is no BIF, is cut short, says something twice or something that nobody
            reads, or a table is incomplete or too large.
    """
    text = without_comments("BIF", text)
    states: dict[str, tuple[str, ...]] = {}
    roles: dict[str, list[str]] = {}
    bodies: list[tuple[str, str]] = []
    networks = 0
    for kind, head, body in _blocks(text):
        if kind == "variable":
            name = _unquoted(head)
            found, carried = _variable(name, body)
            add_once("BIF", states, name, found)
            for role in carried:
                roles.setdefault(role, []).append(name)
        elif kind == "probability":
            bodies.append((head, body))
        else:
            networks += 1
    if networks > 1:
        raise FileError(f"BIF: expected one network block, found {networks}; split the file")
    families = [_family(head, states) for head, _ in bodies]
    shapes: dict[str, list[int]] = {}
    for name, given in families:
        add_once("BIF", shapes, name, [len(states[n]) for n in (*given, name)])
    check_cells("BIF", shapes)
    parents: dict[str, tuple[str, ...]] = {}
    tables: dict[str, Tensor] = {}
    for (name, given), (_, body) in zip(families, bodies, strict=True):
        parents[name], tables[name] = given, _table(name, given, states, body)
    return assemble("BIF", states, parents, tables, roles)


def write_bif(network: Network) -> str:
    """Return a network, whose names BIF can hold, as text."""
    return "".join(_lines(network))


def _lines(network: Network) -> Iterator[str]:
    yield "network unknown {\n}\n"
    roles = roles_by_name(network)
    for name in network.variables:
        states = network.states[name]
        yield f"variable {name} {{\n"
        yield f"  type discrete [ {len(states)} ] {{ {', '.join(map(str, states))} }};\n"
        if carried := roles.get(name):
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
    while match := _OPENING.match(text, at):
        end = _closing(text, match.end())
        if end is None:
            break
        yield match.group(1), match.group(2), text[match.end() : end]
        at = end + 1
    if rest := text[at:].strip():
        line = text.count("\n", 0, len(text) - len(text[at:].lstrip())) + 1
        raise FileError(
            "BIF: expected a network, variable or probability block closed by '}', found "
            f"{rest[:40]!r} at line {line}; is the file cut short?"
        )
    if at == 0:
        raise FileError("BIF: the file is empty")


def _closing(text: str, start: int) -> int | None:
    """Where the brace that was opened before ``start`` is closed; None where it is not."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if not depth:
            return brace.start()
    return None


def _statements(body: str) -> Iterator[str]:
    """What stands between semicolons, those in quotes or braces left alone."""
    start = depth = 0
    for mark in _BREAK.finditer(body):
        if mark.group() == "{":
            depth += 1
        elif mark.group() == "}":
            depth -= 1
        elif mark.group() == ";" and depth <= 0:
            yield body[start : mark.start()].strip()
            start = mark.end()
    yield body[start:].strip()


def _unquoted(text: str) -> str:
    return text.strip().strip('"').strip()


def _variable(name: str, body: str) -> tuple[tuple[str, ...], list[str]]:
    """States and roles of a variable block."""
    states: tuple[str, ...] | None = None
    roles: list[str] = []
    for statement in _statements(body):
        if match := _TYPE.match(statement):
            if states is not None:
                raise FileError(
                    f"BIF: expected one type of {name!r}, found a second, "
                    f"{shown(statement)}; keep one"
                )
            states = _states(name, int(match.group(1)), match.group(2))
            statement = statement[match.end() :].strip()
        if found := _ROLES.match(statement):
            roles += parse_roles(found.group(1))
        elif statement and not _PROPERTY.match(statement):
            raise FileError(
                f"BIF: cannot read {shown(statement)} in the block of {name!r}; expected "
                "'type discrete [ n ] { ... };' and properties"
            )
    if states is None:
        raise FileError(
            f"BIF: expected 'type discrete [ n ] {{ ... }}' for {name!r}, found "
            f"{shown(body.strip())}"
        )
    return states, roles


def _states(name: str, announced: int, text: str) -> tuple[str, ...]:
    states = _items(text) if announced != 1 else [_unquoted(text)]
    if len(states) != announced:
        raise FileError(
            f"BIF: {name!r} announces {announced} states, found {len(states)}: {shown(states)}"
        )
    check_states("BIF", name, states)
    return tuple(states)


def _items(text: str) -> list[str]:
    """Split a list at commas, or at spaces where it has none; quotes protect either."""
    commas = [mark.start() for mark in _COMMA.finditer(text) if mark.group() == ","]
    if commas:
        bounds = itertools.pairwise([-1, *commas, len(text)])
        items = (_unquoted(text[start + 1 : end]) for start, end in bounds)
        return [item for item in items if item]
    if '"' in text:
        return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s"]+)', text)]
    return text.split()


def _family(head: str, states: Mapping[str, Sequence[str]]) -> tuple[str, tuple[str, ...]]:
    """The variable of a probability block and its parents, in order."""
    inner = head.strip()
    if len(inner) < 2 or inner[0] != "(" or inner[-1] != ")":
        raise FileError(f"BIF: expected 'probability ( X | A, B )', found {shown(inner)}")
    inner = inner[1:-1].strip()
    name, bar, given = inner.partition("|")
    # The older form has no bar: `( X A B )`.
    whole = bool(bar) or _unquoted(name) in states
    family = [_unquoted(name), *_items(given)] if whole else _items(name)
    if not family:
        raise FileError("BIF: a probability block names no variable")
    if unknown := [n for n in family if n not in states]:
        raise FileError(
            f"BIF: probability block names {shown(unknown)}, which no variable block declares"
        )
    return family[0], tuple(family[1:])


def _table(
    name: str, parents: tuple[str, ...], states: Mapping[str, Sequence[str]], body: str
) -> Tensor:
    """The table of one block, ``(*card(parents), card)``."""
    cards, card = [len(states[p]) for p in parents], len(states[name])
    n_rows = prod(cards)
    rows: dict[int, list[float]] = {}
    whole: list[Tensor] = []
    default: list[list[float]] = []
    places = [{state: i for i, state in enumerate(states[p])} for p in parents]
    for statement in filter(None, _statements(body)):
        keyword = statement.split(None, 1)[0]
        if statement.startswith("("):
            setting, _, numbers = statement[1:].rpartition(")")
            row = _row(name, parents, places, setting)
            if row in rows:
                raise FileError(
                    f"BIF: the table of {name!r} has a second row ({shown(setting.strip())}) for "
                    f"one setting of {list(parents)}; keep one"
                )
            rows[row] = numbers_of_words("BIF", name, (card,), _words(numbers))
        elif keyword == "table":
            # In a whole table the variable's own state is the slowest.
            words = _words(statement.removeprefix("table"))
            table = table_of_words("BIF", name, (card, *cards), words)
            whole.append(table.movedim(0, -1).contiguous())
        elif keyword == "default":
            words = _words(statement.removeprefix("default"))
            default.append(numbers_of_words("BIF", name, (card,), words))
        elif not _PROPERTY.match(statement):
            raise FileError(f"BIF: cannot read {shown(statement)} in the table of {name!r}")
    if len(whole) > 1 or len(default) > 1 or (whole and (rows or default)):
        raise FileError(
            f"BIF: the table of {name!r} is given more than once: {len(whole)} of 'table', "
            f"{len(default)} of 'default', {len(rows)} rows; keep one whole table, or rows with at "
            "most one default"
        )
    if whole:
        return whole[0]
    if default:
        table = torch.tensor(default, dtype=torch.float64, device="cpu").repeat(n_rows, 1)
        for row, numbers in rows.items():
            table[row] = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        return table.reshape(*cards, card)
    if len(rows) != n_rows:
        raise FileError(
            f"BIF: the table of {name!r} needs a row for each of {n_rows} settings of "
            f"{list(parents)}, found {len(rows)}; is the file cut short?"
        )
    numbers = [rows[row] for row in range(n_rows)]
    return torch.tensor(numbers, dtype=torch.float64, device="cpu").reshape(*cards, card)


def _row(
    name: str, parents: tuple[str, ...], places: Sequence[Mapping[str, int]], setting: str
) -> int:
    """The number of the row that a setting of the parents stands for."""
    # The state of a single parent may hold blanks, which part the states of several.
    one = len(parents) == 1 and _unquoted(setting) in places[0]
    items = [_unquoted(setting)] if one else _items(setting)
    if len(items) != len(parents):
        raise FileError(
            f"BIF: a row of {name!r} must name a state of each of {list(parents)}, found "
            f"{shown(items)}"
        )
    row = 0
    for parent, place, state in zip(parents, places, items, strict=True):
        if state not in place:
            raise FileError(
                f"BIF: a row of {name!r} names state {shown(state)} of {parent!r}, whose states "
                f"are {shown(list(place))}"
            )
        row = row * len(place) + place[state]
    return row


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
