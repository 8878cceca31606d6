"""Effects by two groups of proxies and moments alone, without a mixture [miao18], [mazaheri25spo].

With U the only common cause of treatment T and outcome Y, proxies W of U on which T has no
influence, and proxies Z that say nothing of W and Y once U and T are known,

    sum over w of P(z, w, t) h_t(w, y) = P(z, y, t) for all z,
    P(y | do(t)) = sum over w of P(w) h_t(w, y),

if W and Z show k sources: P(z, w, t) has rank k then, and a solution of rank k does (THEORY section
10). It asks for less than P(U, V): nothing is decomposed, no label aligned. So it is a check of the
likelihood's answer that shares little with it but graph and k.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from pyromix.data.asking import asked
from pyromix.data.moments import MomentSource
from pyromix.exact import linalg
from pyromix.identify.network.separation import Separations, bits, members, rank_bound, tells, union
from pyromix.identify.views.patterns import all_assignments
from pyromix.model.spec import SOURCE, MixtureSpec

MAX_CELLS = 2**10
"""Joint states of treatment, outcome and both groups: their table is formed."""

MAX_TRIED = 2000
"""Sets of outcome proxies that are tried."""


@dataclass(frozen=True)
class Proxies:
    """Two groups of variables that show U from both sides of an effect.

    Attributes:
        treatment: vertex.
        outcome: vertex.
        before: Z, independent of W and the outcome given U and the treatment.
        beside: W, independent of the treatment given U.
    """

    treatment: int
    outcome: int
    before: tuple[int, ...]
    beside: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Proximal:
    """P(outcome | do(treatment)) by proxies.

    Attributes:
        proxies: what it is made of.
        probs: ``(card(treatment), card(outcome))``; rows sum to one, entries may leave [0, 1].
        influence: of every cell of the table on every entry, ``(card(treatment), card(outcome),
            cells)``, with the mean taken off.
        law: the table, ``(cells,)``.
        gaps: per state of the treatment the k-th over the first singular value of P(z, w | t):
            small where the proxies hardly show k sources.
    """

    proxies: Proxies
    probs: Float[Tensor, "t y"]
    influence: Float[Tensor, "t y cells"]
    law: Float[Tensor, " cells"]
    gaps: Float[Tensor, " t"]

    def difference(self, one: int, other: int) -> Float[Tensor, " y"]:
        """What the second state of the treatment makes of the first one's answer."""
        return self.probs[other] - self.probs[one]

    def standard_error(self, one: int, other: int, n_rows: float) -> Float[Tensor, " y"]:
        """Of such a difference, over so many rows."""
        slopes = self.influence[other] - self.influence[one]
        return ((self.law * slopes.square()).sum(-1) / n_rows).sqrt()


def find_proxies(spec: MixtureSpec, treatment: int, outcome: int) -> Proxies | None:
    """Search for two groups of proxies of an effect, the smallest W first, then as much Z as fits.

    Args:
        spec: graph, cardinalities and k.
        treatment: vertex; None is found where something besides U confounds it, its states are
            bins of a number, or there is one source.
        outcome: vertex.
    """
    if SOURCE in (treatment, outcome) or treatment == outcome or spec.n_sources == 1:
        return None
    if treatment in spec.coarse:
        return None  # Z and W are independent given the number and U, not given its bins
    graph, k = Separations(spec.parents), spec.n_sources
    cut = [tuple(p for p in found if p != treatment) for found in spec.parents]
    if Separations(cut).near(())[treatment] >> outcome & 1:
        return None  # a back door that U does not close
    both = bits((treatment, outcome))
    free, held = graph.near(()), graph.near((treatment,))
    beside = bits(tells(spec, ())) & ~free[treatment] & ~both
    before = bits(tells(spec, (treatment,))) & ~held[outcome] & ~both
    candidates = list(members(beside))
    sets = itertools.chain.from_iterable(
        itertools.combinations(candidates, size) for size in range(1, len(candidates) + 1)
    )
    for chosen in itertools.islice(sets, MAX_TRIED):
        if rank_bound(spec, chosen, ()) < k:
            continue
        rest = list(members(before & ~bits(chosen) & ~union(held, chosen)))
        while rest and spec.n_joint((treatment, outcome, *chosen, *rest)) > MAX_CELLS:
            rest.pop()
        if rest and rank_bound(spec, rest, (treatment,)) >= k:
            return Proxies(treatment, outcome, tuple(rest), chosen)
    return None


def by_proxies(
    moments: MomentSource, proxies: Proxies, spec: MixtureSpec | None = None
) -> Proximal | None:
    """Compute P(outcome | do(treatment)) by proxies.

    Args:
        moments: data, or a population.
        proxies: of the effect.
        spec: graph and k; what the data carry when left out.

    Returns:
        None where a state of the treatment has no rows, or fewer than k sources show exactly.
    """
    moments = asked(moments, spec)
    spec, k = moments.spec, moments.spec.n_sources
    groups = ((proxies.treatment,), proxies.before, proxies.beside, (proxies.outcome,))
    axes = tuple(v for group in groups for v in group)
    nothing = all_assignments(spec.joint_shape(()))
    law = moments.table(axes, (), nothing).reshape([spec.n_joint(group) for group in groups])
    law = law / law.sum()
    with_w, with_y, of_w = law.sum(3), law.sum(2), law.sum((0, 1, 3))
    found = linalg.svd(with_w)
    values = found.values[:, :k]
    if values.shape[1] < k or not bool((values[:, -1] > 1e-12 * values[:, 0]).all()):
        return None
    left, right = found.u[..., :k], found.vh[:, :k].mT
    # h = V (U' A V)^-1 U' B; to first order the answer does not move with U and V.
    inverse = right @ linalg.inv(left.mT @ with_w @ right).value @ left.mT
    bridge = inverse @ with_y
    probs = of_w @ bridge
    # d(w' A^+ B) = dw' h - (w' A^+) dA h + (w' A^+) dB
    back = of_w @ inverse
    n_t, n_z, n_w, n_y = law.shape
    slopes = law.new_zeros(n_t, n_y, n_t, n_z, n_w, n_y)
    slopes += bridge.mT[:, :, None, None, :, None]
    for t in range(n_t):
        for y in range(n_y):
            slopes[t, y, t] -= back[t][:, None, None] * bridge[t, :, y][None, :, None]
            slopes[t, y, t, :, :, y] += back[t][:, None]
    slopes = slopes.flatten(2)
    flat = law.flatten()
    return Proximal(
        proxies, probs, slopes - (slopes @ flat)[..., None], flat, values[:, -1] / values[:, 0]
    )
