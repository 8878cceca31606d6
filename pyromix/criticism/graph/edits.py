"""Changes of a graph by one edge, and which of them there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyromix.errors import SpecError
from pyromix.model.edges import Parents, parents_of, reaches
from pyromix.model.knowledge import Knowledge
from pyromix.model.spec import SOURCE, MixtureSpec

ADD, DROP, TURN = "add", "drop", "turn"


@dataclass(frozen=True)
class Edit:
    """One edge more, one less, or one the other way.

    Attributes:
        kind: ``ADD``, ``DROP`` or ``TURN``.
        tail: where the edge begins, now or after it is added; the source only to be added.
        head: where it ends.
    """

    kind: str
    tail: int
    head: int

    def applied(
        self, parents: Parents, uninfluenced: frozenset[int]
    ) -> tuple[Parents, frozenset[int]]:
        """Parents and uninfluenced vertices after it."""
        if self.tail == SOURCE:
            return parents, uninfluenced - {self.head}
        found = list(parents)
        if self.kind == ADD:
            found[self.head] |= {self.tail}
        else:
            found[self.head] -= {self.tail}
        if self.kind == TURN:
            found[self.tail] |= {self.head}
        return tuple(found), uninfluenced

    @property
    def changed(self) -> tuple[int, ...]:
        """Vertices whose families it changes."""
        return (self.tail, self.head) if self.kind == TURN else (self.head,)


def edits(spec: MixtureSpec, knowledge: Knowledge) -> Iterator[Edit]:
    """All changes by one edge that leave a DAG which knowledge allows: added ones, then the others.

    Args:
        spec: the graph as it is.
        knowledge: what it may not become.
    """
    parents, vertices = parents_of(spec), range(spec.n_variables)
    for a in vertices:
        for b in vertices:
            apart = a != b and a not in parents[b] and b not in parents[a]
            if apart and knowledge.allows(a, b) and not reaches(parents, b, a):
                yield Edit(ADD, a, b)
    if spec.n_sources > 1:
        yield from (Edit(ADD, SOURCE, v) for v in sorted(spec.uninfluenced))
    for b in vertices:
        for a in sorted(parents[b]):
            if (a, b) in knowledge.required:
                continue
            yield Edit(DROP, a, b)
            without, _ = Edit(DROP, a, b).applied(parents, spec.uninfluenced)
            if knowledge.allows(b, a) and not reaches(without, a, b):
                yield Edit(TURN, a, b)


def covered(spec: MixtureSpec, edit: Edit) -> bool:
    """Whether tail and head have the same other parents, the source among them.

    Such an edge can be turned, and no other, without changing what laws P(U, V) the graph has
    [chickering95].

    Args:
        spec: the graph as it is.
        edit: of one of its edges.
    """
    one, other = set(spec.parents[edit.tail]), set(spec.parents[edit.head]) - {edit.tail}
    alike = (edit.tail in spec.uninfluenced) == (edit.head in spec.uninfluenced)
    return one == other and (alike or spec.n_sources == 1)


def check_graph(spec: MixtureSpec, knowledge: Knowledge) -> None:
    """Refuse a graph that contradicts what is known of it.

    Raises:
        SpecError: an edge is forbidden or against the tiers, or a required one is not there.
    """
    for v, found in enumerate(spec.parents):
        for p in found:
            if not knowledge.allows(p, v):
                raise SpecError(
                    f"the graph has {spec.name(p)} -> {spec.name(v)}, which is forbidden or "
                    "against the tiers; take the edge out, or the rule"
                )
    for a, b in sorted(knowledge.required):
        if a not in spec.parents[b]:
            raise SpecError(
                f"required: {spec.name(a)} -> {spec.name(b)} is no edge of the graph; draw it first"
            )
