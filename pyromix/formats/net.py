"""Hugin's NET format, of discrete chance vertices.

Numbers are written with the shortest text that reads back as the same float64, and roles as the
user attribute ``HR_roles``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from pyromix.errors import FileError
from pyromix.formats.network import Network, add_once, assemble, roles_of, table_of_words
from pyromix.formats.structure import parse_roles

_TOKEN = re.compile(
    r"(?P<skip>[\s,]+|%[^\n]*|//[^\n]*|/\*.*?\*/)"
    r'|"(?P<string>[^"]*)"|(?P<mark>[(){}=;|])|(?P<word>[^\s(){}=;|,"%]+)',
    re.DOTALL,
)


def read_net(text: str) -> Network:
    """Read a network of discrete chance vertices.

    Raises:
        FileError: the text is no NET, has vertices of other kinds, or a table is incomplete.
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
                "NET: expected net, node or potential, found "
                f"{keyword!r} at line {tokens.line}; only discrete chance vertices can be read"
            )
    parents: dict[str, tuple[str, ...]] = {}
    tables: dict[str, Tensor] = {}
    for family, words in potentials:
        names = [name for name in family if name != "|"]
        if not names or any(name not in states for name in names):
            raise FileError(f"NET: a potential over {names}; the nodes are {list(states)}")
        name, *given = names
        shape = [len(states[n]) for n in (*given, name)]
        parents[name] = tuple(given)
        add_once("NET", tables, name, table_of_words("NET", name, shape, words))
    return assemble("NET", states, parents, tables, roles)


def write_net(network: Network) -> str:
    """Return a network, whose names NET can hold, as text; roles as a user attribute."""
    return "".join(_net_lines(network))


def _net_lines(network: Network) -> Iterator[str]:
    yield "net\n{\n}\n"
    for name in network.variables:
        yield f"node {name}\n{{\n"
        quoted = " ".join(f'"{state}"' for state in network.states[name])
        yield f"  states = ({quoted});\n"
        if carried := roles_of(network, name):
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
            raise FileError(f"NET: expected {expected!r}, found {token!r} at line {self.line}")
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
            fields[name] = list(self.until(";"))
        return fields
