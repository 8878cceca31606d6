"""XMLBIF 0.3 and GeNIe's XDSL: the same tables in two kinds of XML.

Both list a variable's own states fastest, then the last parent. Numbers are written with the
shortest text that reads back as the same float64, and roles as a property ``roles``.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from pyromix.errors import FileError
from pyromix.formats.network import Network, add_once, assemble, roles_of, table_of_words
from pyromix.formats.structure import parse_roles


def read_xmlbif(content: bytes) -> Network:
    """Read a network.

    Raises:
        FileError: the text is no XMLBIF, has decision vertices, or a table is incomplete.
    """
    network = _root(content, "XMLBIF", "BIF").find("NETWORK")
    if network is None:
        raise FileError("XMLBIF: expected a NETWORK element, found none")
    states: dict[str, tuple[str, ...]] = {}
    roles: dict[str, list[str]] = {}
    for variable in network.findall("VARIABLE"):
        name = _child_text("XMLBIF", variable, "NAME")
        if variable.get("TYPE", "nature") != "nature":
            raise FileError(f"XMLBIF: {name!r} is a {variable.get('TYPE')}, not a chance vertex")
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
        add_once("XMLBIF", tables, name, _table("XMLBIF", name, parents[name], states, numbers))
    return assemble("XMLBIF", states, parents, tables, roles)


def write_xmlbif(network: Network) -> bytes:
    """Return a network, whose names XMLBIF can hold, as text."""
    root = ET.Element("BIF", {"VERSION": "0.3"})
    body = ET.SubElement(root, "NETWORK")
    ET.SubElement(body, "NAME").text = "unknown"
    for name in network.variables:
        variable = ET.SubElement(body, "VARIABLE", {"TYPE": "nature"})
        ET.SubElement(variable, "NAME").text = name
        for state in network.states[name]:
            ET.SubElement(variable, "OUTCOME").text = str(state)
        if carried := roles_of(network, name):
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
        FileError: the text is no XDSL, has vertices of other kinds, or a table is incomplete.
    """
    nodes = _root(content, "XDSL", "smile").find("nodes")
    if nodes is None:
        raise FileError("XDSL: expected a nodes element, found none")
    if other := sorted({node.tag for node in nodes} - {"cpt", "deterministic"}):
        raise FileError(
            f"XDSL: expected cpt and deterministic vertices, found {other}; "
            "turn them into cpt in GeNIe first"
        )
    states = {
        node.get("id", ""): tuple(state.get("id", "") for state in node.findall("state"))
        for node in nodes
    }
    roles: dict[str, list[str]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    tables: dict[str, Tensor] = {}
    for node in nodes:
        name = node.get("id", "")
        given = node.find("parents")
        parents[name] = () if given is None else tuple(_text(given).split())
        numbers: Sequence[str]
        if node.tag == "cpt":
            numbers = _child_text("XDSL", node, "probabilities").split()
        else:
            results = _child_text("XDSL", node, "resultingstates").split()
            numbers = [str(float(state == r)) for r in results for state in states[name]]
        add_once("XDSL", tables, name, _table("XDSL", name, parents[name], states, numbers))
        for entry in node.findall("property"):
            if entry.get("id") == "roles":
                _carry(roles, name, _text(entry))
    return assemble("XDSL", states, parents, tables, roles)


def write_xdsl(network: Network) -> bytes:
    """Return a network, whose names XDSL can hold, as text."""
    root = ET.Element(
        "smile", {"version": "1.0", "id": "network", "numsamples": "1000", "discsamples": "10000"}
    )
    nodes = ET.SubElement(root, "nodes")
    for name in network.variables:
        node = ET.SubElement(nodes, "cpt", {"id": name})
        for state in network.states[name]:
            ET.SubElement(node, "state", {"id": str(state)})
        if network.parents[name]:
            ET.SubElement(node, "parents").text = " ".join(network.parents[name])
        ET.SubElement(node, "probabilities").text = _numbers(network.tables[name])
        if carried := roles_of(network, name):
            ET.SubElement(node, "property", {"id": "roles"}).text = ", ".join(carried)
    return _bytes(root)


def _root(content: bytes, label: str, tag: str) -> ET.Element:
    try:
        root = ET.fromstring(content)
    except (ET.ParseError, LookupError, ValueError) as error:
        raise FileError(f"{label}: not well-formed XML: {error}; is the file cut short?") from error
    if root.tag != tag:
        raise FileError(f"{label}: expected the root element {tag!r}, found {root.tag!r}")
    return root


def _text(element: ET.Element) -> str:
    """Text of an element without the blanks that pretty printers put around it."""
    return "".join(element.itertext()).strip()


def _child_text(label: str, element: ET.Element, tag: str) -> str:
    child = element.find(tag)
    if child is None:
        raise FileError(f"{label}: expected a {tag!r} inside {element.tag!r}, found none")
    return _text(child)


def _carry(roles: dict[str, list[str]], name: str, text: str) -> None:
    for role in parse_roles(text):
        roles.setdefault(role, []).append(name)


def _table(
    label: str,
    name: str,
    parents: tuple[str, ...],
    states: Mapping[str, Sequence[str]],
    words: Sequence[str],
) -> Tensor:
    """A table ``(*card(parents), card)`` from its numbers in row-major order."""
    if unknown := [n for n in (*parents, name) if n not in states]:
        raise FileError(f"{label}: the table of {name!r} names unknown variables {unknown}")
    shape = [len(states[n]) for n in (*parents, name)]
    return table_of_words(label, name, shape, words)


def _numbers(table: Tensor) -> str:
    return " ".join(map(repr, table.flatten().tolist()))


def _bytes(root: ET.Element) -> bytes:
    ET.indent(root)
    return b"".join(_parts(root))


def _parts(root: ET.Element) -> Iterator[bytes]:
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n'
    yield ET.tostring(root, encoding="utf-8", xml_declaration=False)
    yield b"\n"
