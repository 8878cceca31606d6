"""Which names each file format can hold, and what to call the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from math import isfinite

from pyromix.errors import StateNameError
from pyromix.formats.network import Network
from pyromix.formats.structure import LATENTS

TYPED_STATES = (str, bool, int, float)
"""Types of states that JSON keeps apart."""


@dataclass(frozen=True)
class Rules:
    """What a text format forbids in names and states, and where to go instead.

    Attributes:
        label: what the format is called in messages.
        in_names: pattern of what must not occur in the name of a variable.
        in_states: pattern of what must not occur in a state.
        names_start: pattern that the name of a variable must begin with.
        instead: formats that hold more.
    """

    label: str
    in_names: str
    in_states: str
    names_start: str = ""
    instead: str = ".xmlbif or the bundle .pyromix"

    def problem(self, name: Hashable, *, is_state: bool) -> str:
        """Return in words why a name cannot be held; empty where it can."""
        if not isinstance(name, str):
            return f"its type {type(name).__name__} would be lost, it would come back as text"
        if not name or name != name.strip():
            return "empty, or blanks at an end"
        if odd := sorted({c for c in name if not c.isprintable()}):
            return f"the character {odd[0]!r}"
        if found := re.search(self.in_states if is_state else self.in_names, name):
            return f"contains {found.group(0)!r}"
        if not is_state and not re.match(self.names_start, name):
            return f"begins with {name[0]!r}"
        return ""

    def renamed(self, name: Hashable, *, is_state: bool) -> str:
        """Return a name that can be held: every forbidden piece becomes an underscore."""
        text = "".join(c if c.isprintable() else "_" for c in str(name))
        text = re.sub(self.in_states if is_state else self.in_names, "_", text.strip())
        if not text or (not is_state and not re.match(self.names_start, text)):
            text = f"_{text}"
        return text


_BIF = r'[{}()\[\],;|"]|//|/\*'
RULES: Mapping[str, Rules] = {
    "bif": Rules("BIF", rf"{_BIF}|\s", _BIF, instead=".xdsl, .xmlbif or the bundle .pyromix"),
    "xmlbif": Rules("XMLBIF", "(?!)", "(?!)", instead="the bundle .pyromix"),
    "xdsl": Rules("XDSL", r"\s", "(?!)"),
    "net": Rules("NET", r"[^A-Za-z0-9_]", r'["\\]', names_start="[A-Za-z_]"),
}


def refuse_names(network: Network, rules: Rules) -> None:
    """Refuse a network with a name that a format cannot hold.

    Raises:
        StateNameError: names the state, the variable, the format and what to use instead.
    """
    rename = "or rename_states=True to have it renamed"
    for name in network.variables:
        if problem := rules.problem(name, is_state=False):
            raise StateNameError(
                f"{rules.label} cannot hold the variable name {name!r} ({problem}); "
                f"use {rules.instead}, {rename}"
            )
        for state in network.states[name]:
            if problem := rules.problem(state, is_state=True):
                instead = rules.instead if isinstance(state, str) else "the bundle .pyromix"
                raise StateNameError(
                    f"{rules.label} cannot hold state {state!r} of {name!r} ({problem}); "
                    f"use {instead}, {rename}"
                )
    refuse_roles(network, rules.label)


def refuse_roles(network: Network, label: str) -> None:
    """Refuse roles whose names cannot be told apart in a list.

    Raises:
        StateNameError: names the role.
    """
    for role in network.roles:
        if not role or re.search(r"[\s,;{}'\"]", role) or not role.isprintable():
            raise StateNameError(
                f"{label} cannot hold the role {role!r}; roles must be single words without "
                "quotes, commas, semicolons and braces"
            )


def refuse_untyped(network: Network, label: str) -> None:
    """Refuse states that JSON cannot tell apart or keep.

    Raises:
        StateNameError: names the state, its type and the variable.
    """
    for name in network.variables:
        refuse_untyped_states(name, network.states[name], label)


def refuse_untyped_states(name: str, states: tuple[Hashable, ...], label: str) -> None:
    """Refuse states of one variable that JSON cannot keep.

    Raises:
        StateNameError: names the state, its type and the variable.
    """
    for state in states:
        kept = type(state) in TYPED_STATES and (not isinstance(state, float) or isfinite(state))
        if not kept:
            raise StateNameError(
                f"{label} cannot hold state {state!r} of {name!r} ({type(state).__name__}); states "
                "must be str, bool, int or finite float: rename it, e.g. str(state)"
            )


def rename(network: Network, rules: Rules) -> tuple[Network, dict[str, dict[Hashable, Hashable]]]:
    """Return a network whose names a format can hold, and what was renamed.

    The same network always gets the same names. Names that can be held stay; a new name that is
    taken gets the first free number.

    Returns:
        The network, and per renamed item the mapping from old to new: under ``"variables"`` for
        names of variables, under the (old) name of a variable for its states.
    """
    changes: dict[str, dict[Hashable, Hashable]] = {}
    variables = _distinct(network.variables, lambda n: rules.problem(n, is_state=False), rules)
    if changed := {old: new for old, new in variables.items() if old != new}:
        changes["variables"] = changed
    states: dict[str, tuple[Hashable, ...]] = {}
    for name in network.variables:
        new = _distinct(
            network.states[name], lambda s: rules.problem(s, is_state=True), rules, is_state=True
        )
        if changed := {o: n for o, n in new.items() if type(o) is not type(n) or o != n}:
            changes[name] = changed
        states[str(variables[name])] = tuple(new.values())
    name_of = {old: str(new) for old, new in variables.items()}
    renamed = replace(
        network,
        variables=tuple(name_of[n] for n in network.variables),
        states=states,
        parents={name_of[n]: tuple(name_of[p] for p in ps) for n, ps in network.parents.items()},
        tables={name_of[n]: table for n, table in network.tables.items()},
        roles={role: tuple(name_of[n] for n in names) for role, names in network.roles.items()},
    )
    return renamed, changes


def _distinct(
    names: tuple[Hashable, ...],
    problem: Callable[[Hashable], str],
    rules: Rules,
    *,
    is_state: bool = False,
) -> dict[Hashable, Hashable]:
    """New names by old ones; those without a problem keep theirs."""
    taken = {name for name in names if not problem(name)}
    new: dict[Hashable, Hashable] = {}
    for name in names:
        if name in taken and isinstance(name, str):
            new[name] = name
            continue
        stem = candidate = rules.renamed(name, is_state=is_state)
        number = 2
        while candidate in taken:
            candidate, number = f"{stem}_{number}", number + 1
        taken.add(candidate)
        new[name] = candidate
    return new


def number_source(network: Network, source: str = "") -> Network:
    """Return the network with source states ``0..k-1`` where a file says ``"0".."k-1"``.

    Text formats have no numbers, and sources are numbered unless a user names them.

    Args:
        network: as read from a text format.
        source: the source where no role says so.
    """
    return _with_source_states(network, source, str, int)


def spell_source(network: Network) -> Network:
    """Return the network with default source states ``0..k-1`` as text, `number_source` undone.

    Raises:
        StateNameError: the source states are such texts already, and would come back as numbers.
    """
    for name in network.roles.get(LATENTS, ()):
        states = network.states[name]
        if states == tuple(map(str, range(len(states)))):
            raise StateNameError(
                f"states {list(states)} of the source {name!r} would come back as numbers; leave "
                f"the source states out (they are 0..{len(states) - 1} by default), name them "
                "otherwise, or use the bundle .pyromix"
            )
    return _with_source_states(network, "", int, str)


def _with_source_states(network: Network, source: str, old: type, new: type) -> Network:
    latents = network.roles.get(LATENTS, ()) or ((source,) if source in network.states else ())
    states = dict(network.states)
    for name in latents:
        numbers = range(len(states[name]))
        if [(type(s), s) for s in states[name]] == [(old, old(i)) for i in numbers]:
            states[name] = tuple(map(new, numbers))
    return replace(network, states=states)
