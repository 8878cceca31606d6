"""Do-queries by Pyro's handlers: ``pyro.do``, ``pyro.condition`` and parallel enumeration."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import opt_einsum
import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.distributions import Categorical
from torch import Tensor

from pyromix.bridges.alone import alone
from pyromix.bridges.pyro import PARALLEL, PyroProgram, to_pyro
from pyromix.errors import DimensionLimitError
from pyromix.exact.mutilated import check_numbers, positivity_error
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery, DoValue
from pyromix.model.spec import SOURCE, MixtureSpec

LOG_SUM_EXP: Any = "pyro.ops.einsum.torch_log"
"""Pyro's backend for opt_einsum that contracts logarithms."""

MAX_DIMS = 64
"""Dimensions that a tensor may have in an operation of PyTorch."""


def marginal(mixture: BayesNetMixture, query: DoQuery) -> Float[Tensor, ...]:
    """Compute P(outcomes | do, evidence) from the enumerated trace of a Pyro program.

    The program holds the outcomes, the evidence and their ancestors in the graph without the edges
    into the vertices under the do. Each site without evidence enumerates its states along a tensor
    dimension of its own; log-sum-exp contracts the log-probabilities of all sites, so that
    hundreds of observed leaves do not underflow.

    Args:
        mixture: the tables.
        query: the question. Distributions in ``do`` are drawn at sites of their own, and a list
            of scenarios is a plate.

    Returns:
        ``(*batch, [scenarios,] *cards of the outcomes)``.

    Raises:
        QueryError: a vertex, a state or a distribution that the mixture does not have.
        DimensionLimitError: more sites than dimensions.
        PositivityError: the evidence has probability zero under the do.
    """
    spec, batch = mixture.spec, tuple(mixture.batch_shape)
    check_numbers(spec, query.do, query.evidence, query.outcomes, query.natural)
    program = _relevant_program(mixture, query)
    plates = {f"batch_{i}": size for i, size in enumerate(batch)}
    if query.n_scenarios is not None:
        plates["scenarios"] = query.n_scenarios
    _check_dimensions(spec, program, query, len(plates) + 1)

    with alone():
        sites, symbols = _enumerated_sites(program, query, n_plates=len(plates) + 1)
    factors = [site["packed"]["log_prob"] for site in sites.values() if "log_prob" in site]
    operands = [(factor, factor._pyro_dims) for factor in factors]
    kept = [symbols.get(name, "") for name in plates]
    kept += [sites[_name(v)]["infer"]["_enumerate_symbol"] for v in query.outcomes]
    # Packing drops axes of length one: they are missing below and put back afterwards.
    present = [s for s in kept if s and any(s in dims for _, dims in operands)]
    log_joint = opt_einsum.contract(
        ",".join(dims for _, dims in operands) + "->" + "".join(present),
        *(log_prob for log_prob, _ in operands),
        optimize="greedy",
        backend=LOG_SUM_EXP,
    )
    shape = (*plates.values(), *(spec.card(v) for v in query.outcomes))
    log_joint = log_joint.reshape(shape)

    axes = tuple(range(len(plates), len(shape)))
    log_evidence = log_joint.logsumexp(axes, keepdim=True)
    if bool((impossible := log_evidence == -torch.inf).any()):
        raise positivity_error(spec, query.do.keys(), query.evidence, impossible, query.natural)
    return (log_joint - log_evidence).exp()


def _name(vertex: int) -> str:
    """Site of a vertex in the program of one query; the user's names might clash with plates."""
    return "U" if vertex == SOURCE else f"V{vertex}"


def _natural(vertex: int) -> str:
    """Site of the natural value of a vertex under the do."""
    return f"{_name(vertex)}*"


def _relevant_program(mixture: BayesNetMixture, query: DoQuery) -> PyroProgram:
    """The program of U, the outcomes, the evidence and their ancestors under the do.

    A vertex under the do becomes a root. Its natural value, which ``pyro.do`` leaves in the
    program, is uniform and has no influence; where the question names that value, a site of its own
    has it, with the vertex's parents and no children.
    """
    spec, batch = mixture.spec, mixture.batch_shape
    halves = sorted(query.natural.keys() - {SOURCE})
    asked = (*query.outcomes, *query.evidence, *(p for v in halves for p in spec.parents[v]))
    relevant = sorted(spec.ancestors(asked, removed=query.do.keys())) or [0]
    number = {v: i for i, v in enumerate(relevant)}
    parents = [() if v in query.do else spec.parents[v] for v in relevant]
    parents += [spec.parents[v] for v in halves]
    every = [*relevant, *halves]
    sub_spec = MixtureSpec(
        variables=(*map(_name, relevant), *map(_natural, halves)),
        states=tuple(spec.states[v] for v in every),
        parents=tuple(tuple(number[p] for p in of_v) for of_v in parents),
        n_sources=spec.n_sources,
        source=_name(SOURCE),
        uninfluenced=frozenset(
            i
            for i, v in enumerate(every)
            if v in spec.uninfluenced or (v in query.do and i < len(relevant))
        ),
        coarse=tuple(i for i, v in enumerate(every) if v in spec.coarse),
    )
    tables = [mixture.table(v) for v in (SOURCE, *every)]
    for i, v in enumerate(relevant, 1):
        if v in query.do:
            shape = (*batch, spec.n_sources, spec.card(v))
            tables[i] = mixture.weights.new_full(shape, 1 / spec.card(v))
    return to_pyro(BayesNetMixture.from_tables(sub_spec, tables))


def _enumerated_sites(
    program: PyroProgram, query: DoQuery, n_plates: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Run the program under the do and the evidence, every other site enumerated.

    Returns:
        The sites by name, with packed log-probabilities except for the natural values of vertices
        under the do; and the symbol of the tensor dimension of each plate.
    """
    spec, device = program.mixture.spec, program.mixture.device
    in_program = {spec.source, *spec.variables}
    do = {_name(v): value for v, value in query.do.items() if _name(v) in in_program}
    seen = {_name(v): s for v, s in query.evidence.items()}
    seen |= {_natural(v): s for v, s in query.natural.items() if v != SOURCE}
    evidence = {name: torch.tensor(s, device=device) for name, s in seen.items()}

    def intervened() -> None:
        with ExitStack() as stack:
            if query.n_scenarios is not None:
                stack.enter_context(pyro.plate("scenarios", query.n_scenarios, dim=-n_plates))
            settings: dict[str, Any] = {
                name: _setting(name, d, n_plates, device) for name, d in do.items()
            }
            pyro.do(program, data=settings)()

    observed = pyro.condition(intervened, data=evidence)
    with poutine.block():  # a handler of the caller shall not see our sites
        trace = poutine.trace(poutine.enum(observed, first_available_dim=-1 - n_plates)).get_trace()
    scored = (in_program - do.keys()) | {f"do[{name}]" for name in do}
    trace.compute_log_prob(lambda name, site: name in scored)
    symbols: dict[str, str] = {}
    trace.pack_tensors(symbols)
    return dict(trace.nodes), symbols


def _setting(name: str, value: DoValue, n_plates: int, device: torch.device) -> Tensor:
    """The value of a vertex under the do; one drawn from a distribution has a site of its own."""
    if not isinstance(value, Tensor):
        return torch.tensor(value, device=device)
    if value.ndim == 2:  # the plate of scenarios lies to the left of all others
        value = value.reshape(len(value), *(1 for _ in range(n_plates - 1)), -1)
    return pyro.sample(f"do[{name}]", Categorical(logits=value.to(device).log()), infer=PARALLEL)


def _check_dimensions(
    spec: MixtureSpec, program: PyroProgram, query: DoQuery, n_plates: int
) -> None:
    sites = {SOURCE, *range(spec.n_variables)} - query.evidence.keys()
    in_program = {program.mixture.spec.source, *program.mixture.spec.variables}
    enumerated = [spec.name(v) for v in sites if _name(v) in in_program]
    drawn = [v for v, d in query.do.items() if isinstance(d, Tensor) and _name(v) in in_program]
    n_sites = len(enumerated) + len(drawn)
    limit = MAX_DIMS - n_plates - 1  # one for the states of a site
    if n_sites > limit:
        raise DimensionLimitError(
            f"engine='pyro' gives every relevant site without evidence its own tensor dimension: "
            f"expected at most {limit} ({MAX_DIMS} less {n_plates} for plates and 1 for states), "
            f"found {n_sites} sites; use engine='elimination'",
            n_sites=n_sites,
            limit=limit,
        )
