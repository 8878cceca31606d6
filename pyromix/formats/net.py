"""Hugin's NET format, of discrete chance vertices.

Numbers are written with the shortest text that reads back as the same float64, and roles as the
user attribute ``HR_roles``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pyromix.errors import FileError
from pyromix.formats.limits import check_cells
from pyromix.formats.network import (
    Network,
    add_once,
    assemble,
    check_states,
    counts_as_shares,
    roles_by_name,
    table_of_words,
)
from pyromix.formats.structure import parse_roles
from pyromix.formats.words import comment_end, shown

_TOKEN = re.compile(
    r"(?P<skip>[\s,]+|%[^\n]*|//[^\n]*)|(?P<comment>/\*)"
    r'|"(?P<string>[^"]*)"|(?P<mark>[(){}=;|])|(?P<word>[^\s(){}=;|,"%]+)',
)


def read_net(text: str) -> Network:
    """Read a network of discrete chance vertices.

    Raises:
        FileError: the text is no NET, has vertices of other kinds, says something twice, or a table
            is incomplete.
    """
    tokens = _Tokens(text)
    states: dict[str, tuple[str, ...]] = {}
    roles: dict[str, list[str]] = {}
    potentials: list[tuple[list[str], list[str]]] = []
    while not tokens.at_end:
        keyword = tokens.take()
        if keyword == "discrete":
            keyword = tokens.take("node")
        if keyword == "node":
            name = tokens.take()
            fields = tokens.fields()
            if "states" not in fields:
                raise FileError(f"NET: expected the states of {name!r}, found none")
            check_states("NET", name, fields["states"])
            add_once("NET", states, name, tuple(fields["states"]))
            for field in ("roles", "HR_roles"):
                for role in parse_roles(" ".join(fields.get(field, ()))):
                    roles.setdefault(role, []).append(name)
        elif keyword == "potential":
            tokens.take("(")
            family = list(tokens.until(")"))
            fields = tokens.fields()
            if "data" not in fields:
                raise FileError(f"NET: expected the data of {family[:1]}, found none")
            potentials.append((family, fields["data"]))
        elif keyword == "net":
            tokens.fields()
        else:
            raise FileError(
                f"NET: expected net, node or potential, found {shown(keyword)} at line "
                f"{tokens.line}; only discrete chance vertices can be read, and no classes of an "
                "object-oriented network"
            )
    parents: dict[str, tuple[str, ...]] = {}
    shapes: dict[str, list[int]] = {}
    for family, _ in potentials:
        names = [name for name in family if name != "|"]
        if not names or any(name not in states for name in names):
            raise FileError(
                f"NET: a potential over {shown(names)}; the nodes are {shown(list(states))}"
            )
        name, *given = names
        add_once("NET", shapes, name, [len(states[n]) for n in (*given, name)])
        parents[name] = tuple(given)
    check_cells("NET", shapes)
    tables = {
        name: table_of_words("NET", name, shape, words)
        for (name, shape), (_, words) in zip(shapes.items(), potentials, strict=True)
    }
    return assemble("NET", states, parents, counts_as_shares("NET", tables), roles)


def write_net(network: Network) -> str:
    """Return a network, whose names NET can hold, as text; roles as a user attribute."""
    return "".join(_net_lines(network))


def _net_lines(network: Network) -> Iterator[str]:
    yield "net\n{\n}\n"
    roles = roles_by_name(network)
    for name in network.variables:
        yield f"node {name}\n{{\n"
        quoted = " ".join(f'"{state}"' for state in network.states[name])
        yield f"  states = ({quoted});\n"
        if carried := roles.get(name):
            yield f'  HR_roles = "{", ".join(carried)}";\n'
        yield "}\n"
    for name in network.variables:
        given = network.parents[name]
        yield f"potential ({name} |{''.join(f' {parent}' for parent in given)})\n{{\n"
        yield f"  data = {_nested(network.tables[name].tolist())};\n}}\n"


def _nested(table: Any) -> str:
    return f"({' '.join(map(_nested, table))})" if isinstance(table, list) else repr(table)


class _Tokens:
    """A walk over the tokens of a NET file."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                line = text.count("\n", 0, at) + 1
                raise FileError(f"NET: cannot read {text[at : at + 20]!r} at line {line}")
            kind = match.lastgroup or ""
            if kind == "comment":
                at = comment_end("NET", text, at)
                continue
            if kind != "skip":
                self.tokens.append((kind, match.group(kind), at))
            at = match.end()
        self.text, self.position = text, 0

    @property
    def at_end(self) -> bool:
        return self.position == len(self.tokens)

    @property
    def line(self) -> int:
        at = self.tokens[max(self.position - 1, 0)][2]
        return self.text.count("\n", 0, at) + 1

    def take(self, expected: str | None = None) -> str:
        """The next token, which must be the expected one if given."""
        if self.at_end:
            raise FileError(
                f"NET: expected {expected or 'a name'!r}, found the end; is the file cut short?"
            )
        _, token, _ = self.tokens[self.position]
        self.position += 1
        if expected is not None and token != expected:
            raise FileError(f"NET: expected {expected!r}, found {shown(token)} at line {self.line}")
        return token

    def until(self, mark: str) -> Iterator[str]:
        """The tokens before the next such mark, parentheses left out."""
        while True:
            kind = self.tokens[self.position][0] if not self.at_end else "mark"
            token = self.take(mark if self.at_end else None)
            if kind == "mark" and token == mark:
                return
            if not (kind == "mark" and token in "(){}"):
                yield token

    def fields(self) -> dict[str, list[str]]:
        """The ``name = value;`` pairs of one block in braces."""
        self.take("{")
        fields: dict[str, list[str]] = {}
        while (name := self.take()) != "}":
            self.take("=")
            if name in fields:
                raise FileError(
                    f"NET: expected one {shown(name)} in a block, found a second at line "
                    f"{self.line}; keep one"
                )
            fields[name] = list(self.until(";"))
        return fields
