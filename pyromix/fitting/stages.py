"""The stages of a fit as JSON, and back; also as bundles of the first version kept them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pyromix.fitting.journal import ChosenPrior, Climb, Course, Draws
from pyromix.fitting.record import Fit
from pyromix.identify.boundary.plan import BoundaryPlan
from pyromix.identify.boundary.search import plan_boundaries
from pyromix.identify.network.plan import Link, Plan, Run
from pyromix.identify.network.search import complete_plan
from pyromix.identify.stage import MomentStage, RunReport
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status
from pyromix.posterior.draws import SamplingReport

JSON = Mapping[str, Any]


def stages_to_json(fit: Fit) -> dict[str, Any]:
    """Everything of a fit that is neither a tensor nor a number of the record."""
    drawn = fit.sampled
    return {
        "course": asdict(fit.course),
        "climb": asdict(fit.climb),
        "prior": {"words": fit.chosen_prior.words, "held_out": fit.chosen_prior.held_out},
        "moments": None if fit.moments is None else _stage_to_json(fit.moments),
        "draws": None
        if drawn is None
        else {
            "method": drawn.method,
            "size": drawn.size,
            "sampling": None if drawn.sampling is None else asdict(drawn.sampling),
            "bound": drawn.bound,
        },
        "notes": [_note_to_json(note) for note in fit.notes],
        "random_state": fit.random_state,
    }


def stages_from_json(
    extra: JSON, spec: MixtureSpec, counts: PseudoCounts, draws: BayesNetMixture | None
) -> dict[str, Any]:
    """Fields of a ``Fit`` from the manifest of a bundle.

    Args:
        extra: the manifest, numbers restored.
        spec: of the fit.
        counts: pseudo-counts of its prior.
        draws: around its estimate.

    Raises:
        KeyError, TypeError: fields are missing, or there are others.
    """
    found = extra["stages"]
    drawn, stage = found["draws"], found["moments"]
    sampled = None
    if draws is not None and drawn is not None:
        report = drawn["sampling"]
        sampled = Draws(
            draws,
            drawn["method"],
            drawn["size"],
            None if report is None else SamplingReport(**report),
            tuple(drawn["bound"]),
        )
    return {
        "course": Course(**as_tuples(found["course"])),
        "climb": Climb(**as_tuples(found["climb"])),
        "chosen_prior": ChosenPrior(counts, **as_tuples(found["prior"])),
        "moments": None if stage is None else _stage_from_json(stage, spec),
        "sampled": sampled,
        "notes": tuple(_note_from_json(note) for note in found["notes"]),
        "random_state": found["random_state"],
    }


def stages_of_first_version(
    extra: JSON, spec: MixtureSpec, counts: PseudoCounts, draws: BayesNetMixture | None
) -> dict[str, Any]:
    """The same from a bundle of version 0.1, which kept sentences; arguments as above."""
    old = as_tuples(extra["diagnostics"])
    method, _, drawn = old["method"].rpartition("; ") if draws else (old["method"], "", "")
    asked, _, ran = method.split("; ")[0].partition(": ")
    stages = tuple(ran.split(", ")) if ran else (("em",) if asked == "em" else ("moments",))
    sampling, bound = old.get("sampling", ()), tuple(old.get("elbo", ()))
    sampled = None
    if draws is not None:
        kind, _, size = drawn.partition(" (")
        report = SamplingReport(**sampling[0]) if sampling else None
        sampled = Draws(draws, kind, size.removesuffix(")"), report, bound)
    return {
        "course": Course(asked, stages),
        "climb": Climb(
            old["start_log_likelihoods"],
            old["n_best"],
            extra["converged"],
            extra["n_iter"],
            () if sampled is not None else bound,
        ),
        "chosen_prior": ChosenPrior(counts, old["prior"], old.get("prior_held_out", ())),
        "moments": next((_old_stage(s, spec) for s in extra["diagnostics"]["moments"]), None),
        "sampled": sampled,
        "notes": tuple(Note(NoteKind.UNKNOWN, sentence) for sentence in old["notes"]),
        "random_state": old.get("random_state", ""),
    }


def as_tuples(fields: JSON) -> dict[str, Any]:
    """JSON fields with lists, to any depth, as the tuples they were."""

    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    return {name: frozen(value) for name, value in fields.items()}


def _stage_to_json(stage: MomentStage) -> dict[str, Any]:
    return {
        "status": stage.status.name,
        "log_likelihood": stage.log_likelihood,
        "runs": [asdict(run) for run in stage.runs],
        "notes": [_note_to_json(note) for note in stage.notes],
        "plan": _plan_to_json(stage.plan),
        "weakest_link": stage.weakest_link,
        "n_links": stage.n_links,
        "n_links_inconsistent": stage.n_links_inconsistent,
    }


def _stage_from_json(fields: JSON, spec: MixtureSpec) -> MomentStage:
    return MomentStage(
        **{
            **fields,
            "status": Status[fields["status"]],
            "runs": tuple(RunReport(**as_tuples(run)) for run in fields["runs"]),
            "notes": tuple(_note_from_json(note) for note in fields["notes"]),
            "plan": _plan_from_json(fields["plan"], spec),
        }
    )


def _old_stage(fields: JSON, spec: MixtureSpec) -> MomentStage:
    """Version 0.1 kept a plan as text; its one run of views says it again."""
    runs = tuple(RunReport(**as_tuples(run)) for run in fields["runs"])
    plan = None
    if fields.get("plan") and runs:
        one, two, three = (tuple(map(spec.vertex, view)) for view in runs[0].views)
        plan = complete_plan(spec, (one, two, three), tuple(map(spec.vertex, runs[0].given)))
    return MomentStage(
        **{
            **fields,
            "status": Status[fields["status"]],
            "runs": runs,
            "notes": tuple(Note(NoteKind.UNKNOWN, s) for s in fields["notes"]),
            "plan": plan,
        }
    )


def _plan_to_json(plan: Plan | BoundaryPlan | None) -> dict[str, Any] | None:
    """A plan without its spec; one of Markov boundaries is found again from its default run."""
    if plan is None:
        return None
    if isinstance(plan, BoundaryPlan):
        return {"default": plan.default}
    if not isinstance(plan, Plan):
        return None  # of somebody's own identifier, who alone can write it
    fields = ("runs", "links", "layers", "uncovered")
    return {
        name: [asdict(x) if isinstance(x, Run | Link) else x for x in getattr(plan, name)]
        for name in fields
    }


def _plan_from_json(fields: JSON | None, spec: MixtureSpec) -> Plan | BoundaryPlan | None:
    if fields is None:
        return None
    if "default" in fields:
        return plan_boundaries(spec, tuple(fields["default"]))
    found = as_tuples(fields)
    return Plan(
        spec,
        tuple(Run(**as_tuples(run)) for run in found["runs"]),
        tuple(Link(**as_tuples(link)) for link in found["links"]),
        found["layers"],
        found["uncovered"],
    )


def _note_to_json(note: Note) -> dict[str, Any]:
    return {"kind": note.kind.value, "sentence": note.sentence, "data": dict(note.data)}


def _note_from_json(fields: JSON) -> Note:
    kind = fields["kind"]
    known = NoteKind(kind) if kind in {*NoteKind} else NoteKind.UNKNOWN  # of a later version
    return Note(known, fields["sentence"], fields["data"])
