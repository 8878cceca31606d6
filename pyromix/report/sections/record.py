"""How the model fits the table, and what somebody else needs to get the same figures."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from pyromix.data.counts import Counts
from pyromix.model.spec import MixtureSpec
from pyromix.report.numbers import p_value
from pyromix.report.parts import Drawing, Section, Table
from pyromix.report.subject import Subject

PAIRS = 5
"""Pairs written, the worst."""

NOTABLE = 2.0
"""Standard errors that some pair must be off for the plot of all to say anything."""

PACKAGES = ("pyromix", "torch", "numpy", "scipy")


def predictive_section(subject: Subject) -> Section:
    """Pair margins and ranks of blocks against the table."""
    title = "Predictive checks"
    if (found := subject.check) is None:
        return Section("checks", title, "The fit holds no table to compare with.")
    rows = tuple(
        (
            ", ".join(pair.names),
            ", ".join(map(str, pair.cell)),
            f"{pair.observed:.4f}",
            f"{pair.expected:.4f}",
            f"{pair.residual:+z.1f}",
            p_value(pair.adjusted),
        )
        for pair in found.pairs[:PAIRS]
    )
    header = ("pair", "cell", "observed", "expected", "std errors", "adjusted p")
    said = (
        "Pairs of variables whose table the fit misses most: the cell that is furthest off, its "
        "share of the rows and under the fit, and how far apart these are."
    )
    tables = [Table(said, header, rows, n_left=2)] if rows else []
    blocks = tuple(
        (block.pair, f"{block.statistic:.1f}", str(block.dof),
         p_value(block.adjusted))
        for block in found.blocks[:PAIRS]
    )  # fmt: skip
    if blocks:
        said = (
            f"Blocks of variables whose joint table should have rank {found.n_sources} at most if "
            "graph and k are right; a small p-value says that it has not."
        )
        tables.append(Table(said, ("blocks", "chi-square", "df", "adjusted p"), blocks))
    bad = sum(pair.adjusted < found.level for pair in found.pairs)
    bad_blocks = sum(block.adjusted < found.level for block in found.blocks)
    verdict = "The model reproduces the table, as far as pairs and blocks of variables show."
    if not found.fits:
        verdict = f"The model does NOT reproduce the table: {bad + bad_blocks} comparisons fail."
    return Section(
        "checks",
        title,
        verdict,
        facts=(
            ("Pair margins", f"{bad} of {len(found.pairs)} contradict the model"),
            ("Ranks of blocks", f"{bad_blocks} of {len(found.blocks)} contradict the model"),
            ("Level", f"{found.level:g} for each family, after Holm's correction"),
        ),
        words=found.notes,
        tables=tuple(tables),
        drawings=(
            (
                Drawing(
                    "residuals",
                    "Of every pair of variables the cell that deviates most, in standard errors.",
                ),
            )
            if any(abs(pair.residual) >= NOTABLE for pair in found.pairs)
            else ()
        ),
        numbers={
            "fits": found.fits,
            "pairs": [
                {"names": list(p.names), "residual": p.residual, "adjusted": p.adjusted}
                for p in found.pairs
            ],
            "blocks": [
                {"one": list(b.one), "other": list(b.other), "given": list(b.given),
                 "adjusted": b.adjusted}
                for b in found.blocks
            ],
        },
    )  # fmt: skip


def reproducibility_section(subject: Subject) -> Section:
    """Versions, seed, hashes."""
    fit = subject.fit
    hashes = {"model": model_hash(fit.spec)}
    if fit.table is not None:
        hashes["data"] = data_hash(fit.table)
    said = (
        "The hash of the model is that of graph, states and k; that of the data is of the distinct "
        "rows with their weights, in any order."
    )
    return reproducible(fit.random_state, fit.diagnostics.method, hashes, said)


def reproducible(seed: str, method: str, hashes: Mapping[str, str], said: str) -> Section:
    """Versions, seed, hashes.

    Args:
        seed: of the fit; perhaps empty.
        method: what made the fit.
        hashes: by name of what.
        said: what they are hashes of.
    """
    versions, seed = installed(PACKAGES), seed or "not kept"
    return Section(
        "reproducibility",
        "Reproducibility",
        "Versions, seed and hashes: what somebody else needs to get the same figures.",
        facts=(
            ("Versions", ", ".join(f"{name} {found}" for name, found in versions.items())),
            ("random_state", seed),
            ("Method", method),
            *((f"sha256 of the {name}", found) for name, found in hashes.items()),
        ),
        words=(said,),
        numbers={"versions": versions, "random_state": seed, "sha256": dict(hashes)},
    )


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages, and of Python."""
    return {**{name: _version(name) for name in packages}, "Python": platform.python_version()}


def model_hash(spec: MixtureSpec) -> str:
    """Hash of variables, states, parents, k, and whom the source influences."""
    content = (
        spec.variables,
        spec.states,
        spec.parents,
        spec.n_sources,
        spec.source,
        sorted(spec.uninfluenced),
    )
    return hashlib.sha256(repr(content).encode()).hexdigest()


def data_hash(counts: Counts) -> str:
    """Hash of the distinct rows and their weights, whatever their order."""
    rows = counts.rows.cpu().numpy().astype("<i8")
    weights = counts.weights.cpu().numpy().astype("<f8")
    order = np.lexsort(rows.T[::-1])
    digest = hashlib.sha256(repr(counts.schema.variables).encode())
    digest.update(np.ascontiguousarray(rows[order]).tobytes())
    digest.update(weights[order].tobytes())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
