"""Draws of mixtures as ArviZ holds them: an xarray DataTree with chains, draws and state names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromix.errors import QueryError, SpecError
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import SOURCE, MixtureSpec

if TYPE_CHECKING:
    from xarray import DataTree

SAMPLE_DIMS = ("chain", "draw")


def to_arviz(draws: BayesNetMixture, n_chains: int = 1, **attributes: Any) -> DataTree:
    """Return draws as the group ``posterior`` of an ArviZ data tree.

    Args:
        draws: batch shape ``(n,)``, chain after chain.
        n_chains: chains of equal length that they are from.
        **attributes: kept with the group, e.g. what drew them.

    Returns:
        One variable ``theta[NAME]`` per table, named as the sites of ``to_pyro(prior=...)``, with
        dimensions chain, draw, U, the parents and the vertex; tables that sources share have no
        dimension U. Coordinates are state names, as texts where a variable's are of several kinds.

    Raises:
        SpecError: a name has a slash, or is that of a dimension of ArviZ.
        QueryError: ``arviz-base`` is not installed.
    """
    spec = draws.spec
    arviz_base = arviz_for(spec)
    tables, dims = {}, {}
    for v in range(SOURCE, spec.n_variables):
        table = draws.table(v)
        axes = (SOURCE,) if v == SOURCE else (SOURCE, *spec.parents[v], v)
        if v in spec.uninfluenced:
            table, axes = table[:, 0], axes[1:]
        name = f"theta[{spec.name(v)}]"
        tables[name] = table.unflatten(0, (n_chains, -1)).cpu().numpy()
        dims[name] = [spec.name(w) for w in axes]
    coords = {spec.name(v): labels(spec, v) for v in range(SOURCE, spec.n_variables)}
    return arviz_base.from_dict(
        {"posterior": tables}, coords=coords, dims=dims, attrs={"posterior": attributes}
    )


def arviz_for(spec: MixtureSpec) -> Any:
    """The library, where it is there and can hold these names.

    Raises:
        SpecError, QueryError: as ``to_arviz``.
    """
    names = [spec.source, *spec.variables]
    if bad := [name for name in names if "/" in name or name in SAMPLE_DIMS]:
        raise SpecError(
            f"ArviZ takes no names with a slash, and has dimensions {list(SAMPLE_DIMS)} of its "
            f"own, found variables {bad}; rename them in graph and table"
        )
    try:
        import arviz_base
    except ImportError as error:
        raise QueryError(
            f"to_arviz needs arviz-base, which cannot be imported ({error}): "
            "pip install 'pyromix[arviz]'"
        ) from error
    return arviz_base


def labels(spec: MixtureSpec, v: int) -> list[Any]:
    """Names of the states of a vertex, of one kind; numbers where texts would be equal."""
    states = spec.states_of(v)
    for kind in (str, bool, int, float):
        if all(type(state) is kind for state in states):
            return list(states)
    texts = [str(state) for state in states]
    return texts if len(set(texts)) == len(texts) else list(range(len(texts)))
