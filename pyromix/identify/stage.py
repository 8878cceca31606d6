"""What the moment stage found, in numbers and names."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyromix.identify.boundary.plan import BoundaryPlan
from pyromix.identify.network.plan import Plan
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note
from pyromix.model.status import Status


@dataclass(frozen=True)
class RunReport:
    """What one run of the moment stage saw: three views of the source, given an assignment.

    Attributes:
        views: names of the variables of each view.
        given: names of the variables conditioned on.
        n_assignments: assignments of these.
        outcomes: per ``Status`` name, how many assignments ended with it.
        signal: k-th canonical correlation of the first two views, of the assignment with most rows.
        noise_floor: what the signal must exceed there.
        separation: smallest distance between two sources there, in standard errors.
        rarest: expected rows of the rarest source there.
        projected: largest amount by which a probability was moved to reach the simplex.
        standard_error: root mean square error of within-source means there, to first order.
        singular_values: canonical correlations of the first two views there, descending; the
            k-th is the signal.
    """

    views: tuple[tuple[str, ...], ...]
    given: tuple[str, ...]
    n_assignments: int
    outcomes: tuple[tuple[str, int], ...]
    signal: float
    noise_floor: float
    separation: float
    rarest: float
    projected: float
    standard_error: float
    singular_values: tuple[float, ...] = ()

    def __str__(self) -> str:
        """One line: the views, and signal against noise."""
        views = "  ".join("{" + ", ".join(view) + "}" for view in self.views)
        given = f" given {{{', '.join(self.given)}}}" if self.given else ""
        return (
            f"{views}{given}: {_counted(self.outcomes)}; signal {self.signal:.3g} (noise floor "
            f"{self.noise_floor:.3g}), separation {self.separation:.3g} standard errors"
        )


@dataclass(frozen=True)
class MomentStage:
    """The mixture by moments, before refinement.

    Attributes:
        status: OK where moments determine the mixture.
        log_likelihood: of the moment estimate, sum over rows; nan where it cannot be computed.
        runs: what was decomposed.
        notes: what is to be said of it.
        plan: what was solved; None for variables without edges, and where there is none.
        weakest_link: least confidence on the alignment tree: by how much the best matching of two
            assignments' sources beats the runner-up, in squared standard errors; infinite where
            nothing had to be aligned.
        n_links: links between assignments, those of the tree and those that check it.
        n_links_inconsistent: how many of these contradict the tree.
        n_drawn: how many rows of the table were drawn for it; 0 where it saw all of them.
    """

    status: Status
    log_likelihood: float
    runs: tuple[RunReport, ...]
    notes: tuple[Note, ...] = ()
    plan: Plan | BoundaryPlan | None = None
    weakest_link: float = math.inf
    n_links: int = 0
    n_links_inconsistent: int = 0
    n_drawn: int = 0

    @property
    def ok(self) -> bool:
        """Whether moments determine the mixture."""
        return self.status == Status.OK

    def __str__(self) -> str:
        """A line for the stage, then one per run and per note."""
        drawn = f" ({self.n_drawn:,} rows drawn)" if self.n_drawn else ""
        lines = [f"moments{drawn}: {self.status.name}, logL {self.log_likelihood:.6g}"]
        lines += str(self.plan).splitlines() if self.plan else []
        return "\n  ".join([*lines, *map(str, self.runs), *map(str, self.notes)])


@dataclass(frozen=True, eq=False)
class MomentStart:
    """What the moment stage hands on.

    Attributes:
        mixture: the estimate, without batch axes; None where there is nothing to start from.
        stage: what was found on the way.
    """

    mixture: BayesNetMixture | None
    stage: MomentStage


def _counted(outcomes: tuple[tuple[str, int], ...]) -> str:
    if len(outcomes) == 1 and outcomes[0][1] == 1:
        return outcomes[0][0]
    return ", ".join(f"{n} {name}" for name, n in outcomes)
