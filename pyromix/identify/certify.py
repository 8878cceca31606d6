"""Local certificates: which directions of parameter space the law of the observed variables sees.

THEORY section 7(b) and (c). The Jacobian of theta -> P(V) is taken in closed form at a generic
mixture: one row per cell of the joint table, or per sampled cell where the table is large.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from pyromix.model.likelihood import responsibilities
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.model.certificate import Certificate, flatten_tangent, n_logits
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture, torch_generator
from pyromix.model.spec import MixtureSpec

MAX_LOGITS = 2500
"""Largest number of logits for which the dense singular value decomposition is done."""

RANK_TOLERANCE = 1e-9
"""Singular values below this share of the largest are zero."""


@lru_cache(maxsize=32)
def certify(spec: MixtureSpec, random_state: int = 0) -> Certificate:
    """Take the Jacobian of theta -> P(V) at a generic mixture and find its row space.

    Args:
        spec: graph, cardinalities and k.
        random_state: seed of the generic mixture and of the sampled cells.

    Returns:
        The certificate; cost is a singular value decomposition of (cells, logits).

    Raises:
        SpecError: more logits than ``MAX_LOGITS``.
    """
    size = n_logits(spec)
    if size > MAX_LOGITS:
        raise SpecError(
            f"the certificate of this model has {size} logits, more than {MAX_LOGITS}: it is not "
            'computed; answers need require="none", or ask about an ancestral part of the network'
        )
    generator = torch_generator(random_state)
    drawn = random_mixture(spec, generator)
    # Halfway to uniform, so that no direction is faint merely because a cell is rare.
    point = BayesNetMixture(
        spec,
        drawn.weights,
        tuple((c + 1 / c.shape[-1]) / 2 for c in drawn.cpts),
    )
    jacobian = score_matrix(point, _cells(spec, 2 * size + 64, generator))
    _, values, basis = torch.linalg.svd(jacobian, full_matrices=False)
    kept = values > RANK_TOLERANCE * values[0]
    return Certificate(point, basis[kept], float(values[0] / values[kept][-1]))


def score_matrix(mixture: BayesNetMixture, rows: Int[Tensor, "m n"]) -> Float[Tensor, "m logits"]:
    """Gradient of log P(row) in the logits of all tables, for complete rows.

    For source u and the CPT row that a data row uses, it is the responsibility of u times
    (indicator of the observed state - probability); P(row) only rescales a row, so the row space
    is that of the Jacobian of P(V).

    Args:
        mixture: unbatched.
        rows: state numbers, no cell missing.
    """
    spec, m = mixture.spec, rows.shape[0]
    rows = rows.long()
    shares = responsibilities(mixture, rows)
    number = torch.arange(m, device=rows.device)
    blocks = [shares - mixture.weights]
    for v, cpt in enumerate(mixture.cpts):
        used = torch.zeros_like(number)
        for p in spec.parents[v]:
            used = used * spec.cards[p] + rows[:, p]
        table = cpt.flatten(1, -2) if spec.parents[v] else cpt.unsqueeze(1)
        observed = torch.nn.functional.one_hot(rows[:, v], spec.cards[v])
        block = table.new_zeros(m, *table.shape)
        block[number, :, used] = shares.unsqueeze(-1) * (observed - table[:, used]).movedim(1, 0)
        blocks.append(block)
    return flatten_tangent(spec, blocks)


def _cells(spec: MixtureSpec, n: int, generator: torch.Generator) -> Int[Tensor, "m n"]:
    """All cells of the joint table where they are few, else ``n`` uniform ones."""
    device = generator.device
    if spec.n_cells <= max(n, 4096):
        codes = torch.arange(spec.n_cells, device=device)
        return torch.stack(torch.unravel_index(codes, spec.cards), -1)
    columns = [torch.randint(c, (n,), generator=generator, device=device) for c in spec.cards]
    return torch.stack(columns, -1)
