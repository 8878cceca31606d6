"""Coverage of latent class regression, and what three-step estimators make of a difference of 1.

python tests/studies/class_extras.py [-n 200]. Six binary items, answered 1 with probability .7 or
.3 by class, 1,000 rows; P(class 1) is a logit of a standard normal with slope 1, intercept -.3; the
outcome is normal, its mean 1 higher in class 1. Seeds are 0, 1, 2, ...
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd

import pyromix as px

TRUTH = {"(intercept)": -0.3, "z": 1.0}
METHODS = ("modal", "proportional", "bch", "ml")


def table(seed: int) -> tuple[pd.DataFrame, list[str]]:
    """One simulated table, and the names of its items."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=1000)
    u = rng.random(1000) < 1 / (1 + np.exp(-(z - 0.3)))
    items = (rng.random((1000, 6)) < np.where(u, 0.7, 0.3)[:, None]).astype(int)
    frame = pd.DataFrame(items, columns=[f"V{i}" for i in range(6)])
    return frame.assign(z=z, score=u + rng.normal(size=1000)), list(frame.columns)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=200)
    n = parser.parse_args().n
    covered: dict[str, list[bool]] = {name: [] for name in TRUTH}
    errors: dict[str, list[float]] = {name: [] for name in TRUTH}
    gaps: dict[str, list[float]] = {method: [] for method in METHODS}
    for seed in range(n):
        frame, items = table(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", px.PyromixWarning)
            fit = px.fit_product(frame[[*items, "z"]], 2, covariates="z", n_init=2, tol=1e-9)
            alone = px.fit_product(frame[items], 2, n_init=2, method="em")
        # Sources are named by their sizes: class 1 is that in which the first item is likelier.
        own = int(fit.mixture.cpts[0][1, 1] > fit.mixture.cpts[0][0, 1])
        for row in fit.to_frame(reference=1 - own).itertuples():
            covered[row.covariate].append(row.low <= TRUTH[row.covariate] <= row.high)
            errors[row.covariate].append(row.estimate - TRUTH[row.covariate])
        own = int(alone.mixture.cpts[0][1, 1] > alone.mixture.cpts[0][0, 1])
        for method, found in gaps.items():
            means = alone.distal(frame, "score", method=method, n_bootstrap=0).estimates[:, 0]
            found.append(float(means[own] - means[1 - own]))
    print(f"{n} tables of 1,000 rows")
    for name, hits in covered.items():
        print(
            f"{name:12} 95% interval covers {np.mean(hits):.3f}, mean error "
            f"{np.mean(errors[name]):+.3f}, sd {np.std(errors[name]):.3f}"
        )
    for method, found in gaps.items():
        print(f"{method:12} difference {np.mean(found):.3f}, sd {np.std(found):.3f} (true: 1)")


if __name__ == "__main__":
    main()
