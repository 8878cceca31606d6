"""k-MixBND: from moments to a mixture on one DAG (THEORY section 5).

A plan; its run solved on all assignments z at once (5.1: P(a, b, c | z) as a mixture of products);
labels aligned (5.4: the permutation of least squared difference of laws that do not depend on what
differs between z and z'); families covered (5.3: P(u, F) = sum over z of P(z) P(u | z) P(F | u,
z)); the rest of the network covered in layers from known ancestors (``layers``). What a small
stratum does not show is left out and said.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource
from pyromix.errors import IdentificationError, RankError, SeparationError
from pyromix.exact.likelihood import log_prob
from pyromix.exact.rows import CellIndex
from pyromix.identify.align import Alignment, align
from pyromix.identify.network.covering import Conditioned, layers
from pyromix.identify.network.layers import regress_layer
from pyromix.identify.network.plan import Plan
from pyromix.identify.network.recover import (
    assemble,
    boundary_code,
    laws_within,
    outside,
    pooled,
    without_sources,
)
from pyromix.identify.network.runs import SolvedRun, solve_plans
from pyromix.identify.network.search import find_plans
from pyromix.identify.network.separation import dependence
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind, sentences
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status
from pyromix.model.ties import first_largest

ENOUGH_MASS = 0.8
"""Probability of the solved assignments from which the moments count as determining."""

ALIGNERS = 12
"""Alignment variables used: each costs a table per pair of assignments."""

MAX_RELABELLINGS = 2000
"""Labels of unlinked assignments that are tried by likelihood."""


@dataclass(frozen=True, eq=False)
class NetworkSolution:
    """A mixture of Bayesian networks recovered from moments.

    Attributes:
        mixture: without batch axes.
        status: OK where the graph and the data determine it; else what stood in the way most.
        run: the run, solved.
        alignment: of the labels of its assignments.
        known: per vertex which CPT rows ``(k, *card(parents))`` moments determine; the others hold
            the same values in all sources.
        notes: what is to be said of it.
    """

    mixture: BayesNetMixture
    status: Status
    run: SolvedRun
    alignment: Alignment
    known: tuple[Bool[Tensor, ...], ...]
    notes: tuple[Note, ...]

    def require(self) -> NetworkSolution:
        """Return this solution if its status is OK.

        Raises:
            RankError: too few singular values above the noise floor.
            SeparationError: sources are equal, or eigenvalues complex.
            IdentificationError: any other outcome.
        """
        if self.status == Status.OK:
            return self
        why = "; ".join(sentences(self.notes))
        text = f"moments do not determine the mixture, {self.status.name}: {why}"
        found = self.run.diagnostics
        top = first_largest(self.run.mass.tolist())
        if self.status == Status.RANK_TOO_SMALL:
            values = tuple(found.singular_values[top].tolist())
            raise RankError(text, singular_values=values, floor=float(found.noise_floor[top]))
        if self.status in (Status.MERGED, Status.COMPLEX_PAIR):
            raise SeparationError(text)
        raise IdentificationError(text)


def identify_network(
    moments: MomentSource,
    spec: MixtureSpec | None = None,
    *,
    plans: Sequence[Plan] = (),
    random_state: RandomState = 0,
    settle: bool = False,
) -> NetworkSolution:
    """Recover a mixture of Bayesian networks from the moments of its variables.

    Args:
        moments: data, or a population, over the variables of the graph in any order.
        spec: the graph and k; those of the plans, or what the data carry, when left out.
        plans: to choose from; found from the graph when left out.
        random_state: of random combinations, and of view vertices where there are too many.
        settle: for the first plan that separates the sources well, see ``solve_plans``.

    Raises:
        PlanError: the graph has no three views of U.
        IdentificationError: no moments could be factorised.
        DataError: the data are over other variables, or no graph is given.
    """
    moments = asked(moments, plans[0].spec if spec is None and plans else spec)
    spec = moments.spec
    rng = numpy_generator(random_state)
    run = solve_plans(moments, plans or find_plans(spec), rng, settle=settle)
    here = Conditioned(spec, run.run.conditioning)
    status, notes = _outcome(run)
    alignment = _aligned(moments, run, here)
    solution = _recovered(moments, run, here, alignment)
    if run.plan.unlinked:
        names = ", ".join(spec.name(z) for z in run.plan.unlinked)
        notes = (
            *notes,
            Note(
                NoteKind.UNLINKED,
                f"nothing carries labels over {names}: they were chosen by likelihood, and another "
                "choice may fit as well",
            ),
        )
    if wrong := alignment.inconsistent:
        notes = (
            *notes,
            Note(
                NoteKind.INCONSISTENT,
                f"{len(wrong)} of {len(alignment.links)} links between assignments contradict the "
                "alignment tree: the graph or n_sources may be wrong",
            ),
        )
    mixture, known = solution
    return NetworkSolution(mixture, status, run, alignment, known, notes)


def _outcome(run: SolvedRun) -> tuple[Status, tuple[Note, ...]]:
    """The status of the whole, and what is to be said of assignments that are not solved."""
    failed = ~run.ok
    if not bool(failed.any()):
        return Status.OK, ()
    masses = {
        Status(code): float(run.mass[run.status == code].sum())
        for code in run.status[failed].unique().tolist()
    }
    worst = list(masses)[first_largest(masses.values())]
    parts = ", ".join(
        f"{int((run.status == s).sum())} {s.name} (probability {m:.2g})" for s, m in masses.items()
    )
    given = run.plan.spec
    names = ", ".join(given.name(z) for z in run.run.conditioning)
    over = f" of {len(run.mass)} assignments of {{{names}}}" if names else ""
    note = Note(
        NoteKind.UNSOLVED,
        f"not solved{over}: {parts}; {worst.advice}",
        {status.name: mass for status, mass in masses.items()},
    )
    return (Status.OK if run.solved_mass >= ENOUGH_MASS else worst), (note,)


def _aligned(moments: Asked, run: SolvedRun, here: Conditioned) -> Alignment:
    """Labels joined by the variables that do not depend on what differs."""
    given, spec, k = run.run.conditioning, run.plan.spec, run.plan.spec.n_sources
    numbers = torch.where(run.diagnostics.projected.isnan(), 0.0, run.mass)
    places = torch.arange(len(run.mass), device=run.mass.device)
    heaviest = (places == first_largest(numbers.tolist())) & (numbers > 0)
    usable = run.ok if bool(run.ok.any()) else heaviest
    if not bool(usable.any()):
        raise IdentificationError(
            f"expected sources of at least one of {len(run.mass)} assignments, found no number for "
            "any: their moments could not be factorised; ask for a smaller n_sources, or bring "
            "more data"
        )
    reached = {z: dependence(spec, set(given) - {z})[z] for z in given}
    candidates = list(dict.fromkeys(w for link in run.plan.links for w in link.aligners))
    # Those that depend on least carry labels farthest.
    candidates.sort(key=lambda w: sum(w in reached[z] for z in given))
    chosen = candidates[:ALIGNERS]
    for link in run.plan.links:
        if link.aligners and not set(link.aligners) & set(chosen):
            chosen.append(link.aligners[0])
    laws, _ = laws_within(moments, run, [(w,) for w in chosen], here)
    known = [w for w in chosen if (w,) in laws]
    keys = [boundary_code(run, w, [z for z in given if w in reached[z]]) for w in known]
    none = torch.zeros(len(run.mass), 0, dtype=torch.int64, device=run.mass.device)
    # As many labelled rows as would have the standard error of the run.
    worth = k * run.solved.core.weights / run.solved.core.standard_error.square().unsqueeze(1)
    return align(
        torch.stack(keys, 1).to(run.mass.device) if keys else none,
        [laws[w,] for w in known],
        worth.nan_to_num(0.0),
        usable,
    )


def _recovered(
    moments: Asked, run: SolvedRun, here: Conditioned, alignment: Alignment
) -> tuple[BayesNetMixture, tuple[Tensor, ...]]:
    """CPTs by the alignment; where it has several components, by the likeliest of their labels."""
    spec, given = run.plan.spec, run.run.conditioning
    covered = [v for v in run.run.covers if v not in spec.uninfluenced]
    groups = {v: outside(spec, v, given) for v in covered}
    laws, _ = laws_within(moments, run, list(groups.values()), here)
    laws = {
        group: without_sources(moments, run, group, law, alignment.component < 0)
        for group, law in laws.items()
    }
    used = alignment.component >= 0
    margin = cache(partial(pooled, moments))

    def build(order: Tensor) -> tuple[BayesNetMixture, tuple[Tensor, ...]]:
        weights = run.solved.core.weights.gather(1, order)
        solved = (weights * run.mass.unsqueeze(-1))[used]
        # An assignment that is not solved says nothing about U.
        weights = torch.where(used.unsqueeze(-1), weights, solved.sum(0) / solved.sum())
        joint = weights * run.mass.unsqueeze(-1)
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for v, group in groups.items():
            if group in laws:
                law = laws[group]
                index = order.reshape(*order.shape, *(1 for _ in law.shape[2:])).expand_as(law)
                found[v] = assemble(run, law.gather(1, index), joint, used, v)
        return _completed(moments, run.plan, joint.sum(0), found, margin)

    if alignment.n_components <= 1:
        return build(alignment.orders)
    return _likeliest(moments, alignment, run.mass, build)


def _completed(
    moments: Asked,
    plan: Plan,
    weights: Float[Tensor, " k"],
    found: dict[int, tuple[Tensor, Tensor]],
    margin: Callable[[int], Tensor],
) -> tuple[BayesNetMixture, tuple[Tensor, ...]]:
    """Layers from known ancestors, and tables without sources for what nothing covers."""
    spec, k = plan.spec, plan.spec.n_sources
    for v in spec.uninfluenced:
        table = margin(v)
        table = table.expand(k, *table.shape).clone()
        found[v] = table, torch.ones_like(table[..., 0], dtype=torch.bool)
    for layer in layers(spec, list(found)):
        cpts = {v: cpt for v, (cpt, _) in _filled(found, margin).items()}
        found |= regress_layer(moments, weights, cpts, layer)
    found = _filled(found, margin)
    for v in range(spec.n_variables):
        if v not in found:
            table = margin(v)
            table = table.expand(k, *table.shape).clone()
            found[v] = table, torch.zeros_like(table[..., 0], dtype=torch.bool)
    cpts, known = zip(*(found[v] for v in range(spec.n_variables)), strict=True)
    return BayesNetMixture(spec, weights, cpts), known


def _filled(
    found: dict[int, tuple[Tensor, Tensor]], margin: Callable[[int], Tensor]
) -> dict[int, tuple[Tensor, Tensor]]:
    """CPT rows that are not known hold the row without sources."""
    filled = {}
    for v, (cpt, known) in found.items():
        if not bool(known.all()):
            cpt = torch.where(known.unsqueeze(-1), cpt, margin(v).expand_as(cpt))
        filled[v] = cpt, known
    return filled


def _likeliest(
    moments: Asked,
    alignment: Alignment,
    mass: Float[Tensor, " r"],
    build: Callable[[Tensor], tuple[BayesNetMixture, tuple[Tensor, ...]]],
) -> tuple[BayesNetMixture, tuple[Tensor, ...]]:
    """Choose the labels of one component after another by the likelihood of the network."""
    order, best = alignment.orders, build(alignment.orders)
    if not moments.listable:
        return best
    rows = [
        (CellIndex(moments.spec, block), weights)
        for block, weights in moments.listed().blocks(range(moments.spec.n_variables))
    ]
    score = _score(rows, best[0])
    k = order.shape[1]
    budget = MAX_RELABELLINGS
    for c in range(1, alignment.n_components):
        members = alignment.component == c
        start = order
        for step in _relabellings(k, order.device):
            budget -= 1
            if budget < 0:
                return best
            tried = torch.where(members.unsqueeze(-1), start[:, step], start)
            candidate = build(tried)
            value = _score(rows, candidate[0])
            if value > score:
                order, best, score = tried, candidate, value
    return best


def _relabellings(k: int, device: torch.device) -> list[Int[Tensor, " k"]]:
    """All permutations for small k, transpositions beyond; without the identity."""
    identity = list(range(k))
    if math.factorial(k) <= 24:
        steps = [list(p) for p in itertools.permutations(range(k))][1:]
    else:
        steps = []
        for i, j in itertools.combinations(range(k), 2):
            swapped = identity.copy()
            swapped[i], swapped[j] = j, i
            steps.append(swapped)
    return [torch.tensor(step, device=device) for step in steps]


def _score(rows: Sequence[tuple[CellIndex, Tensor]], mixture: BayesNetMixture) -> float:
    """Log-likelihood, with a floor under rows that rounding made impossible."""
    return math.fsum(
        float(weights @ log_prob(mixture, block).clamp_min(-1e4)) for block, weights in rows
    )
