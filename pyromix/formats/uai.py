"""The format of the UAI competitions, which has no names, and the sidecar that holds them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice
from math import prod

from torch import Tensor

from pyromix.errors import DataRepairWarning, FileError, warn
from pyromix.formats.limits import check_cells
from pyromix.formats.network import Network, assemble, table_of_words
from pyromix.formats.words import json_once, shown

NAMES_FORMAT = 1
"""Version of the sidecar."""

_COMMENT = re.compile(r"#[^\n]*")


def read_uai(text: str, names: bytes | None = None) -> Network:
    """Read a network; without the names it has ``var_0, var_1, ...`` with states ``0, 1, ...``.

    Tables are as the format defines them: the variable of a table comes last in its scope, and
    the last variable of a scope is the fastest. What follows ``#`` on a line is a comment.

    Args:
        text: content of the file.
        names: content of the sidecar, where there is one.

    Raises:
        FileError: the text is no UAI network, is cut short, or does not belong to the sidecar.
    """
    listed = _COMMENT.sub(" ", text).split()
    words = iter(listed)
    kind = next(words, "")
    if kind != "BAYES":
        raise FileError(
            f"UAI: expected a file that begins with BAYES, found {kind[:20]!r}; a Markov network "
            "has no direction, so it is no DAG"
        )
    n = _integer(words, "the number of variables")
    cards = [_integer(words, "a cardinality") for _ in range(n)]
    if not n:
        raise FileError("UAI: the file declares no variable")
    scopes = [
        [_integer(words, "a variable of a scope") for _ in range(_integer(words, "a scope size"))]
        for _ in range(_integer(words, "the number of tables"))
    ]
    if sorted(scope[-1] for scope in scopes if scope) != list(range(n)) or len(scopes) != n:
        raise FileError(
            f"UAI: expected one table per variable 0..{n - 1}, found scopes {shown(scopes)}"
        )
    if any(not 0 <= v < n for scope in scopes for v in scope):
        raise FileError(f"UAI: scopes must name variables 0..{n - 1}, found {shown(scopes)}")
    if "#" in text and any(len(scope) > 2 for scope in scopes):
        warn(
            "UAI: the format has no comments; pyAgrum writes some, and puts the first parent "
            "fastest. The order of the format was taken: the last variable of a scope fastest. To "
            "read it the other way, reverse the parents in every scope, or save it from pyAgrum "
            "as .bif",
            DataRepairWarning,
        )
    shapes = [[cards[v] for v in scope] for scope in scopes]
    for scope, shape in zip(scopes, shapes, strict=True):
        if not 0 < prod(shape) <= len(listed):
            raise FileError(
                f"UAI: the table of variable {scope[-1]} has {prod(shape)} numbers for cards "
                f"{shown(shape)}, the whole file has {len(listed)} words; is the file cut short?"
            )
    check_cells("UAI", {str(scope[-1]): s for scope, s in zip(scopes, shapes, strict=True)})
    variables, states, roles = _read_names(names, text, cards)
    parents: dict[str, tuple[str, ...]] = {}
    tables: dict[str, Tensor] = {}
    for scope, shape in zip(scopes, shapes, strict=True):
        size = _integer(words, "a table size")
        name = variables[scope[-1]]
        parents[name] = tuple(variables[v] for v in scope[:-1])
        if size != prod(shape):
            raise FileError(
                f"UAI: the table of {name!r} needs {prod(shape)} numbers for cards {shape}, the "
                f"file announces {size}"
            )
        tables[name] = table_of_words("UAI", name, shape, list(islice(words, size)))
        if float((tables[name].sum(-1) - 1).abs().max()) > 1e-2:
            raise FileError(
                f"UAI: rows of the table of {name!r} do not sum to one with the variable as the "
                "fastest axis, which is what the format asks for; pgmpy's UAIWriter writes it as "
                "the slowest: export from pgmpy to another format"
            )
    if rest := list(words):
        raise FileError(f"UAI: expected the end after the last table, found {shown(rest)}")
    return assemble("UAI", states, parents, tables, roles)


def write_uai(network: Network) -> tuple[str, bytes]:
    """Return a network as UAI text, which has no names, and the sidecar that holds them."""
    number = {name: v for v, name in enumerate(network.variables)}
    lines = ["BAYES", str(len(number))]
    lines.append(" ".join(str(len(network.states[name])) for name in number))
    lines.append(str(len(number)))
    for name in number:
        scope = [number[n] for n in (*network.parents[name], name)]
        lines.append(" ".join(map(str, (len(scope), *scope))))
    for name in number:
        table = network.tables[name]
        lines += ["", str(table.numel()), " ".join(map(repr, table.flatten().tolist()))]
    text = "\n".join(lines) + "\n"
    names = {
        "format": NAMES_FORMAT,
        "sha256": _digest(text),
        "variables": [{"name": n, "states": list(network.states[n])} for n in network.variables],
        "roles": {role: list(carriers) for role, carriers in network.roles.items()},
    }
    content = json.dumps(names, indent=1, ensure_ascii=False) + "\n"
    return text, content.encode(errors="surrogatepass")


def _read_names(
    names: bytes | None, text: str, cards: Sequence[int]
) -> tuple[tuple[str, ...], Mapping[str, tuple[Hashable, ...]], Mapping[str, tuple[str, ...]]]:
    if names is None:
        variables = tuple(f"var_{v}" for v in range(len(cards)))
        return variables, {n: tuple(range(c)) for n, c in zip(variables, cards, strict=True)}, {}
    try:
        content = json_once(names)
        version, digest = content["format"], content["sha256"]
        states = {entry["name"]: tuple(entry["states"]) for entry in content["variables"]}
        roles = {role: tuple(carriers) for role, carriers in content["roles"].items()}
        if not all(isinstance(s, str | bool | int | float) for n in states.values() for s in n):
            raise ValueError("a state is neither text, number nor boolean")
        if unknown := [
            name for carriers in roles.values() for name in carriers if name not in states
        ]:
            raise ValueError(f"roles of unknown variables {unknown}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(
            f"UAI: the sidecar with the names is unreadable ({type(error).__name__}: "
            f"{shown(str(error))[1:-1]}); "
            "without it the file is read with the names var_0, var_1, ..."
        ) from error
    if version != NAMES_FORMAT:
        raise FileError(f"UAI: expected a sidecar of format {NAMES_FORMAT}, found {shown(version)}")
    if digest != _digest(text) or [len(s) for s in states.values()] != list(cards):
        raise FileError(
            "UAI: the sidecar with the names belongs to another version of the file; delete it to "
            "read the names var_0, var_1, ..."
        )
    return tuple(states), states, roles


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _integer(words: Iterator[str], what: str) -> int:
    word = next(words, "")
    if not word.isdecimal() or len(word) > 18:
        raise FileError(f"UAI: expected {what}, found {word[:20]!r}; is the file cut short?")
    return int(word)
