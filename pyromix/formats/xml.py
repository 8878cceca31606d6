"""XMLBIF 0.3 and GeNIe's XDSL: the same tables in two kinds of XML.

Both list a variable's own states fastest, then the last parent. Numbers are written with the
shortest text that reads back as the same float64, and roles as a property ``roles``.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from math import isqrt, prod

import torch
from torch import Tensor

from pyromix.errors import DataRepairWarning, FileError, warn
from pyromix.formats.limits import check_cells
from pyromix.formats.network import (
    Network,
    add_once,
    assemble,
    check_states,
    roles_by_name,
    table_of_words,
)
from pyromix.formats.structure import parse_roles
from pyromix.formats.words import shown


def read_xmlbif(content: bytes) -> Network:
    """Read a network.

    Raises:
        FileError: the text is no XMLBIF, has decision vertices, says something twice, or a table is
            incomplete.
    """
    network = _only_child("XMLBIF", _root(content, "XMLBIF", "BIF"), "NETWORK")
    states: dict[str, tuple[str, ...]] = {}
    roles: dict[str, list[str]] = {}
    for variable in network.findall("VARIABLE"):
        name = _child_text("XMLBIF", variable, "NAME")
        if variable.get("TYPE", "nature") != "nature":
            raise FileError(
                f"XMLBIF: {name!r} is a {shown(variable.get('TYPE'))[1:-1]}, not a chance vertex"
            )
        outcomes = tuple(_text(outcome) for outcome in variable.findall("OUTCOME"))
        add_once("XMLBIF", states, name, outcomes)
        for entry in variable.findall("PROPERTY"):
            key, _, value = _text(entry).partition("=")
            if key.strip() == "roles":
                _carry(roles, name, value)
    parents: dict[str, tuple[str, ...]] = {}
    tables: dict[str, Tensor] = {}
    for definition in network.findall("DEFINITION"):
        name = _child_text("XMLBIF", definition, "FOR")
        parents[name] = tuple(_text(given) for given in definition.findall("GIVEN"))
        numbers = _child_text("XMLBIF", definition, "TABLE").split()
        shape = _shape("XMLBIF", name, parents[name], states)
        add_once("XMLBIF", tables, name, table_of_words("XMLBIF", name, shape, numbers))
    return assemble("XMLBIF", states, parents, tables, roles)


def write_xmlbif(network: Network) -> bytes:
    """Return a network, whose names XMLBIF can hold, as text."""
    root = ET.Element("BIF", {"VERSION": "0.3"})
    body = ET.SubElement(root, "NETWORK")
    ET.SubElement(body, "NAME").text = "unknown"
    roles = roles_by_name(network)
    for name in network.variables:
        variable = ET.SubElement(body, "VARIABLE", {"TYPE": "nature"})
        ET.SubElement(variable, "NAME").text = name
        for state in network.states[name]:
            ET.SubElement(variable, "OUTCOME").text = str(state)
        if carried := roles.get(name):
            ET.SubElement(variable, "PROPERTY").text = f"roles = {', '.join(carried)}"
    for name in network.variables:
        definition = ET.SubElement(body, "DEFINITION")
        ET.SubElement(definition, "FOR").text = name
        for parent in network.parents[name]:
            ET.SubElement(definition, "GIVEN").text = parent
        ET.SubElement(definition, "TABLE").text = _numbers(network.tables[name])
    return _bytes(root)


def read_xdsl(content: bytes) -> Network:
    """Read a network of chance and deterministic vertices.

    Raises:
        FileError: the text is no XDSL, has vertices of other kinds or of several times, says
            something twice, or a table is incomplete.
    """
    root = _root(content, "XDSL", "smile")
    nodes = _only_child("XDSL", root, "nodes")
    _refuse_time(root, nodes)
    if other := sorted({node.tag for node in nodes} - {"cpt", "deterministic"}):
        raise FileError(
            f"XDSL: expected cpt and deterministic vertices, found {shown(other)}; "
            "turn them into cpt in GeNIe first"
        )
    states: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        outcomes = tuple(state.get("id", "") for state in node.findall("state"))
        check_states("XDSL", node.get("id", ""), outcomes)
        add_once("XDSL", states, node.get("id", ""), outcomes)
    roles: dict[str, list[str]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        name = node.get("id", "")
        if len(node.findall("parents")) > 1:
            raise FileError(f"XDSL: {name!r} has two lists of parents; keep one")
        given = node.find("parents")
        parents[name] = () if given is None else tuple(_text(given).split())
        for entry in node.findall("property"):
            if entry.get("id") == "roles":
                _carry(roles, name, _text(entry))
    shapes = {name: _shape("XDSL", name, given, states) for name, given in parents.items()}
    check_cells("XDSL", shapes)
    tables: dict[str, Tensor] = {}
    for node, (name, shape) in zip(nodes, shapes.items(), strict=True):
        if node.tag == "cpt":
            words = _child_text("XDSL", node, "probabilities").split()
            tables[name] = table_of_words("XDSL", name, shape, words)
        else:
            tables[name] = _certain(name, shape, states[name], node)
    _warn_of_writer(content, parents)
    return assemble("XDSL", states, parents, tables, roles)


def write_xdsl(network: Network) -> bytes:
    """Return a network, whose names XDSL can hold, as text."""
    root = ET.Element(
        "smile", {"version": "1.0", "id": "network", "numsamples": "1000", "discsamples": "10000"}
    )
    nodes = ET.SubElement(root, "nodes")
    roles = roles_by_name(network)
    for name in network.variables:
        node = ET.SubElement(nodes, "cpt", {"id": name})
        for state in network.states[name]:
            ET.SubElement(node, "state", {"id": str(state)})
        if network.parents[name]:
            ET.SubElement(node, "parents").text = " ".join(network.parents[name])
        ET.SubElement(node, "probabilities").text = _numbers(network.tables[name])
        if carried := roles.get(name):
            ET.SubElement(node, "property", {"id": "roles"}).text = ", ".join(carried)
    _lay_out(root, network.variables)
    return _bytes(root)


def _lay_out(root: ET.Element, names: Sequence[str]) -> None:
    """Add the drawing of GeNIe, on a square grid; pyAgrum reads no file without one."""
    extensions = ET.SubElement(root, "extensions")
    drawing = ET.SubElement(
        extensions,
        "genie",
        {"version": "1.0", "app": "pyromix", "name": "network", "faultnameformat": "nodestate"},
    )
    columns = isqrt(max(len(names) - 1, 0)) + 1
    for place, name in enumerate(names):
        node = ET.SubElement(drawing, "node", {"id": name})
        ET.SubElement(node, "name").text = name
        ET.SubElement(node, "interior", {"color": "e5f6f7"})
        ET.SubElement(node, "outline", {"color": "000080"})
        ET.SubElement(node, "font", {"color": "000000", "name": "Arial", "size": "8"})
        row, column = divmod(place, columns)
        left, top = 120 * column + 20, 80 * row + 20
        ET.SubElement(node, "position").text = f"{left} {top} {left + 90} {top + 50}"


def _refuse_time(root: ET.Element, nodes: ET.Element) -> None:
    """Refuse a dynamic network: read as a static one it would lose its temporal arcs."""
    moving = [node.get("id", "") for node in nodes if node.get("dynamic")]
    if moving or root.find("dynamic") is not None:
        raise FileError(
            f"XDSL: expected a static network, found a dynamic one (vertices on a plate: "
            f"{shown(moving)}); unroll it in GeNIe first, Network > Unroll"
        )


def _warn_of_writer(content: bytes, parents: Mapping[str, Sequence[str]]) -> None:
    """Say that one writer has another order of the parents than the format."""
    header = content[: max(content.find(b"<smile"), 0)]
    if b"agrum" in header.lower() and any(len(given) > 1 for given in parents.values()):
        warn(
            "XDSL: the header names pyAgrum as the writer, which puts the first parent fastest; "
            "the order of the format, that of GeNIe, was taken: the last parent fastest. To read "
            "it the other way, reverse the names in every <parents>, or save it from pyAgrum as "
            ".bif",
            DataRepairWarning,
        )


def _certain(name: str, shape: Sequence[int], states: Sequence[str], node: ET.Element) -> Tensor:
    """The table of a deterministic vertex, a state for every setting of its parents."""
    results = _child_text("XDSL", node, "resultingstates").split()
    place = {state: i for i, state in enumerate(states)}
    if unknown := [result for result in results if result not in place]:
        raise FileError(
            f"XDSL: {name!r} results in {shown(unknown)}; its states are {shown(list(states))}"
        )
    if len(results) != prod(shape[:-1]):
        raise FileError(
            f"XDSL: {name!r} needs {prod(shape[:-1])} resulting states, found {len(results)}; is "
            "the file cut short?"
        )
    numbers = torch.tensor([place[result] for result in results], device="cpu")
    return torch.eye(len(states), dtype=torch.float64, device="cpu")[numbers].reshape(list(shape))


def _root(content: bytes, label: str, tag: str) -> ET.Element:
    """The root element; tags without their namespaces, blanks before the declaration left out."""
    try:
        root = ET.fromstring(content.lstrip(b" \t\r\n"))
    except (ET.ParseError, LookupError, ValueError) as error:
        raise FileError(f"{label}: not well-formed XML: {error}; is the file cut short?") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != tag:
        raise FileError(f"{label}: expected the root element {tag!r}, found {shown(root.tag)}")
    return root


def _text(element: ET.Element) -> str:
    """Text of an element without the blanks that pretty printers put around it."""
    return "".join(element.itertext()).strip()


def _child_text(label: str, element: ET.Element, tag: str) -> str:
    return _text(_only_child(label, element, tag))


def _only_child(label: str, element: ET.Element, tag: str) -> ET.Element:
    """The one child of a tag."""
    found = element.findall(tag)
    if len(found) != 1:
        where = (
            f"{element.tag!r} {shown(element.get('id'))}"
            if element.get("id")
            else repr(element.tag)
        )
        raise FileError(f"{label}: expected a {tag!r} inside {where}, found {len(found) or 'none'}")
    return found[0]


def _carry(roles: dict[str, list[str]], name: str, text: str) -> None:
    for role in parse_roles(text):
        roles.setdefault(role, []).append(name)


def _shape(
    label: str, name: str, parents: tuple[str, ...], states: Mapping[str, Sequence[str]]
) -> list[int]:
    """Shape of a table, ``(*card(parents), card)``."""
    if unknown := [n for n in (*parents, name) if n not in states]:
        raise FileError(f"{label}: the table of {name!r} names unknown variables {shown(unknown)}")
    return [len(states[n]) for n in (*parents, name)]


def _numbers(table: Tensor) -> str:
    return " ".join(map(repr, table.flatten().tolist()))


def _bytes(root: ET.Element) -> bytes:
    ET.indent(root)
    return b"".join(_parts(root))


def _parts(root: ET.Element) -> Iterator[bytes]:
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n'
    yield ET.tostring(root, encoding="utf-8", xml_declaration=False)
    yield b"\n"
