"""Information of rows whose source is known, and of pseudo-counts, which are such rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import SOURCE


def of_prior(mixture: BayesNetMixture, prior: PseudoCounts) -> Float[Tensor, "p p"]:
    """Information of pseudo-counts.

    Those that lie at a learned place draw rows together and hold them nowhere: with that place
    integrated out (flat), k rows of log-odds with precision t each around it have

        t (diag(p) - p p') x (I - J / k),   J all ones,

    which is zero along the direction in which all of them move together.
    """
    spec = mixture.spec
    learned = prior.learned or (0.0,) * spec.n_variables
    masses = [(a.sum(-1) - t).clamp_min(0.0) for a, t in zip(prior.cpts, learned, strict=True)]
    for v in spec.uninfluenced:
        # Once, and not once for every source.
        masses[v] = masses[v] / spec.n_sources
    total, axis = of_labelled_rows(mixture, prior.weights.sum(), masses), ParameterAxis(spec)
    for v, t in enumerate(learned):
        if t > 0:
            part = axis.block(v)
            _draw_together(total[part, part], t * law_of(mixture.cpts[v][: axis.copies(v)]))
    return total


def _draw_together(block: Float[Tensor, "q q"], law: Float[Tensor, "groups rows f f"]) -> None:
    """Add the precision of learned pseudo-counts in place, over sources or over parent states.

    Args:
        block: of one vertex, whose parameters run over groups (sources), rows and states.
        law: of each row, ``t (diag(p) - p p')``; a single group is drawn together over its rows.
    """
    n_groups, n_rows, free = law.shape[:3]
    shape = (n_groups, n_rows, free)
    over = n_groups if n_groups > 1 else n_rows
    ones = torch.ones(over, over, dtype=law.dtype, device=law.device)
    apart = torch.eye(over, dtype=law.dtype, device=law.device) - ones / over
    view = block.view(*shape, *shape)
    if n_groups > 1:
        view.diagonal(dim1=1, dim2=4).add_(torch.einsum("uw,rij->uiwjr", apart, law.mean(0)))
    else:
        view[0, :, :, 0].add_(torch.einsum("rs,ij->risj", apart, law[0].mean(0)))


def of_labelled_rows(
    mixture: BayesNetMixture, sources: Tensor, masses: Sequence[Tensor]
) -> Float[Tensor, "p p"]:
    """Information of labelled rows: a block ``n (diag(p) - p p')`` per table row.

    Args:
        mixture: the estimate.
        sources: labelled rows in all.
        masses: rows behind each CPT row.
    """
    spec, axis = mixture.spec, ParameterAxis(mixture.spec)
    total = mixture.weights.new_zeros(axis.size, axis.size)
    head = axis.block(SOURCE)
    total[head, head] = sources * law_of(mixture.weights[None, None])[0, 0]
    for v, (cpt, mass) in enumerate(zip(mixture.cpts, masses, strict=True)):
        part = axis.block(v)
        if v in spec.uninfluenced:
            mass = mass.sum(0, keepdim=True)
        law = law_of(cpt[: axis.copies(v)]).flatten(0, 1) * mass.flatten()[:, None, None]
        view = total[part, part].view(*law.shape[:2], *law.shape[:2])
        view.diagonal(dim1=0, dim2=2).copy_(law.permute(1, 2, 0))
    return total


def law_of(cpt: Float[Tensor, "groups *parents card"]) -> Float[Tensor, "groups rows free free"]:
    """``diag(p) - p p'`` of every row of a table, its last state left out."""
    free = cpt.reshape(len(cpt), -1, cpt.shape[-1])[..., :-1]
    return torch.diag_embed(free) - free.unsqueeze(-1) * free.unsqueeze(-2)
