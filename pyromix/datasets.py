"""The bundled sets: networks with a planted source, and real tables, each with a card.

They live in ``models/`` of the checkout and travel inside the wheel as ``pyromix/models``. A set is
a folder with card.md, data.csv, and network.bif (planted: the truth, U included) or structure.toml
(real: a graph, no tables).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from pyromix.bridges.pgmpy import to_pgmpy
from pyromix.data.frames import decode, encode, to_pandas
from pyromix.data.levels import read_levels
from pyromix.data.reading import RawTable, read_frame
from pyromix.data.text import infer
from pyromix.errors import DataError, FileError
from pyromix.formats.files import read, read_structure
from pyromix.model.arguments import shown
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec, near_matches

IID = "iid"
"""Value of ``Card.problem`` for tables of successes and trials, whose columns are no variables."""

_FENCE = "+++"


@dataclass(frozen=True, eq=False)
class Card:
    """What a set is, where it comes from, and what is known about the answer.

    Attributes:
        name: what ``load`` takes.
        title: one line.
        source: publication and the collection it was taken from.
        licence: of network and data.
        kind: ``"planted"`` (a network with a planted U, so the truth is exact) or ``"real"``.
        problem: which door it is for: ``"network"`` (``px.fit``), ``"product"``
            (``px.fit_product``: no edges), ``"iid"`` (``px.fit_iid``: successes and trials).
        n_sources: k; 1 where everything that matters is observed.
        count_column: where data.csv holds distinct rows, the name of its column of counts; empty
            otherwise. The table that ``load`` returns has one row per unit in either case.
        treatment: name of the treatment; empty where there is no such question.
        contrast: two of its states, from and to; empty likewise.
        outcome: name of the outcome; empty likewise.
        outcome_state: the state whose probability the truths speak of; empty likewise.
        truth: figures by name. ``naive`` and ``do`` are differences of the probability of
            ``outcome_state`` between the two states of ``contrast``; ``what`` says where the
            figures come from.
        text: the card in words (Markdown).
        folder: where the files lie.
    """

    name: str
    title: str
    source: str
    licence: str
    kind: str
    problem: str
    n_sources: int
    count_column: str
    treatment: str
    contrast: tuple[str, ...]
    outcome: str
    outcome_state: str
    truth: Mapping[str, Any]
    text: str
    folder: Path

    def __str__(self) -> str:
        """Title, text and origin, for people."""
        return f"{self.title}\n\n{self.text}\n\nSource: {self.source}\nLicence: {self.licence}"


def names() -> tuple[str, ...]:
    """Names of the bundled sets, sorted.

    Raises:
        FileError: the folder of the sets is missing.
    """
    return tuple(sorted(path.parent.name for path in _models().glob("*/card.md")))


def read_card(name: str) -> Card:
    """Read the card of a set, without its table.

    Raises:
        DataError: no such set; near matches and all names are given.
        FileError: the folder of the sets is missing, or a card has no header.
    """
    known = names()
    if not isinstance(name, str) or name not in known:
        raise DataError(
            f"no bundled set is called {shown(name)}{near_matches(name, known)}; "
            f"there are {', '.join(known)}"
        )
    folder = _models() / name
    blank, fence, rest = (folder / "card.md").read_text(encoding="utf-8").partition(_FENCE)
    header, closing, text = rest.partition(f"\n{_FENCE}\n")
    if blank or not fence or not closing:
        raise FileError(
            f"expected {folder / 'card.md'} to begin with a TOML header between lines of "
            f"{_FENCE!r}, found none; restore the file"
        )
    try:
        fields = tomllib.loads(header)
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"header of {folder / 'card.md'}: {error}; restore the file") from None
    return Card(
        name=name,
        folder=folder,
        text=text.strip(),
        contrast=tuple(fields.pop("contrast", ())),
        truth=MappingProxyType(fields.pop("truth", {})),
        **{"treatment": "", "outcome": "", "outcome_state": "", **fields},
    )


def load(name: str) -> tuple[Any, Any, Card]:
    """Load a bundled set, offline.

    Args:
        name: one of ``names()``.

    Returns:
        The model, a pgmpy DiscreteBayesianNetwork; treatment and outcome carry the roles
        ``exposures`` and ``outcomes``. A planted network has U as a latent vertex and all its CPDs,
        U's too: the truth. A real set has the graph alone, its states as the node attribute
        ``states``; U is a latent vertex where the card says k > 1, and is left out where k = 1. A
        set of successes and trials has the graph of a single trial, U -> trial; the columns of its
        table are not vertices (see ``px.fit_iid``).

        The table, a pandas DataFrame with one row per unit, so that no weights are needed (counts
        of the file are expanded): the variables of the model as Categorical columns with their
        states in the declared order, and further columns of the file as they stand. Never a column
        of U.

        The card.

    Raises:
        DataError: no such set; near matches and all names are given.
        FileError: the files of the sets are missing or damaged.
    """
    card = read_card(name)
    if card.kind == "planted":
        mixture = read(card.folder / "network.bif")
        spec = _with_roles(mixture.spec, card)
        model = to_pgmpy(replace(mixture, spec=spec))
    else:
        spec = _with_roles(read_structure(card.folder / "structure.toml").to_spec(), card)
        model = _graph(spec)
    return model, _frame(card, spec), card


def _with_roles(spec: MixtureSpec, card: Card) -> MixtureSpec:
    named = (("exposures", card.treatment), ("outcomes", card.outcome))
    return replace(spec, roles=tuple((role, (spec.vertex(name),)) for role, name in named if name))


def _graph(spec: MixtureSpec) -> Any:
    """The pgmpy network of a spec without CPDs."""
    tables = [
        torch.full(shape, 1 / shape[-1], dtype=torch.float64, device="cpu")
        for shape in ((spec.n_sources,), *map(spec.cpt_shape, range(spec.n_variables)))
    ]
    model = to_pgmpy(BayesNetMixture(spec, tables[0], tuple(tables[1:])))
    # pgmpy has no states without CPDs; tables that nobody estimated must not look like answers.
    model.remove_cpds(*model.nodes)
    for name, states in zip(spec.variables, spec.states, strict=True):
        model.nodes[name]["states"] = states
    return model


def _frame(card: Card, spec: MixtureSpec) -> Any:
    table = read_frame(card.folder / "data.csv")
    shown = [column for column in table.columns if column != card.count_column]
    if card.count_column:
        counts = _values(table, card.count_column)
    else:
        counts = np.ones(table.n_rows, dtype=np.int64)
    if card.problem == IID:
        return to_pandas({column: np.repeat(_values(table, column), counts) for column in shown})
    codes = encode(table, spec).codes
    units = torch.as_tensor(counts, device="cpu")
    frame = decode(spec, codes.repeat_interleave(units, dim=0))
    for column in shown:
        if column not in frame.columns:
            frame[column] = np.repeat(_values(table, column), counts)
    return frame[shown]


def _values(table: RawTable, column: str) -> np.ndarray:
    """A column outside the model: numbers where all cells are numbers, else texts."""
    levels = read_levels(column, table.frame[column], text=table.text)
    values = infer([str(value) for value in levels.values])
    return np.asarray(values)[levels.codes - 1]


def _models() -> Path:
    """The folder of the sets: inside an installed wheel, or beside the package in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "models", here.parent / "models"):
        if any(folder.glob("*/card.md")):
            return folder
    raise FileError(
        f"expected the bundled sets in {here / 'models'} (installed) or {here.parent / 'models'} "
        "(checkout), found none; install pyromix again, or run from a complete checkout"
    )
