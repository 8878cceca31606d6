"""Whether the shape of a number's distribution could tell of U what the graph does not.

A family with a shape, Gaussian say, may have a score of full rank where X and Y are all there is;
but then the bell tells of U, not the variables: with skewed noise, and nothing that confounds, it
finds a U all the same (THEORY section 18.6). So its rank certifies nothing. What it alone could
tell is identified "by shape".
"""

from __future__ import annotations

from pyromix.model.spec import MixtureSpec


def shape_may_tell(spec: MixtureSpec) -> bool:
    """Whether a law that differs between sources is that of a number, or depends on one.

    Else every law that depends on U is a table, and no shape is assumed of any.

    Args:
        spec: with numbers as ``coarse`` vertices.
    """
    numbers = set(spec.coarse)
    influenced = (v for v in range(spec.n_variables) if v not in spec.uninfluenced)
    return any(numbers.intersection((v, *spec.parents[v])) for v in influenced)
