"""The stages of a fit as JSON, and back; also as bundles of the first version kept them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from pyromix.errors import FileError
from pyromix.fitting.journal import ChosenPrior, Climb, Course, Draws
from pyromix.fitting.record import Fit
from pyromix.fitting.typed import checked, typed
from pyromix.identify.boundary.plan import BoundaryPlan
from pyromix.identify.boundary.search import plan_boundaries
from pyromix.identify.network.covering import complete_plan
from pyromix.identify.network.plan import Link, Plan, Run
from pyromix.identify.stage import MomentStage, RunReport
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.model.status import Status
from pyromix.posterior.draws import SamplingReport

JSON = Mapping[str, Any]


def stages_to_json(fit: Fit) -> dict[str, Any]:
    """Everything of a fit that is neither a tensor nor a number of the record."""
    drawn = fit.sampled
    return {
        "course": asdict(fit.course),
        "climb": asdict(fit.climb),
        "prior": {
            "words": fit.chosen_prior.words,
            "held_out": fit.chosen_prior.held_out,
            "choice": fit.chosen_prior.choice,
        },
        "moments": None if fit.moments is None else _stage_to_json(fit.moments),
        "draws": None
        if drawn is None
        else {
            "method": drawn.method,
            "size": drawn.size,
            "sampling": None if drawn.sampling is None else asdict(drawn.sampling),
            "bound": drawn.bound,
        },
        "notes": [note_to_json(note) for note in fit.notes],
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
        FileError: a field is of another type than the record declares.
        KeyError, TypeError: fields are missing, or there are others.
    """
    found = extra["stages"]
    drawn, stage = found["draws"], found["moments"]
    sampled = None
    if draws is not None and drawn is not None:
        report = drawn["sampling"]
        sampled = Draws(
            draws,
            checked(str, drawn["method"], "draws.method"),
            checked(str, drawn["size"], "draws.size"),
            None if report is None else typed(SamplingReport, report, "draws.sampling"),
            checked(tuple[float, ...], drawn["bound"], "draws.bound"),
        )
    return {
        "course": typed(Course, found["course"], "course"),
        "climb": typed(Climb, found["climb"], "climb"),
        "chosen_prior": typed(ChosenPrior, found["prior"], "prior", counts=counts),
        "moments": None if stage is None else _stage_from_json(stage, spec),
        "sampled": sampled,
        "notes": tuple(note_from_json(note) for note in found["notes"]),
        "random_state": checked(str, found["random_state"], "random_state"),
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
        report = typed(SamplingReport, sampling[0], "sampling") if sampling else None
        sampled = Draws(draws, kind, size.removesuffix(")"), report, bound)
    climb = {
        "log_likelihoods": old["start_log_likelihoods"],
        "n_best": old["n_best"],
        "converged": extra["converged"],
        "n_iter": extra["n_iter"],
        "bound": () if sampled is not None else bound,
    }
    prior = {"words": old["prior"], "held_out": old.get("prior_held_out", ())}
    return {
        "course": Course(asked, stages),
        "climb": typed(Climb, climb, "climb"),
        "chosen_prior": typed(ChosenPrior, prior, "prior", counts=counts),
        "moments": next((_old_stage(s, spec) for s in extra["diagnostics"]["moments"]), None),
        "sampled": sampled,
        "notes": tuple(
            Note(NoteKind.UNKNOWN, checked(str, sentence, "notes")) for sentence in old["notes"]
        ),
        "random_state": checked(str, old.get("random_state", ""), "random_state"),
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
        "notes": [note_to_json(note) for note in stage.notes],
        "plan": _plan_to_json(stage.plan),
        "weakest_link": stage.weakest_link,
        "n_links": stage.n_links,
        "n_links_inconsistent": stage.n_links_inconsistent,
        "n_drawn": stage.n_drawn,
    }


def _stage_from_json(fields: JSON, spec: MixtureSpec) -> MomentStage:
    own = {
        "status": Status[fields["status"]],
        "runs": tuple(typed(RunReport, run, "moments.runs") for run in fields["runs"]),
        "notes": tuple(note_from_json(note) for note in fields["notes"]),
        "plan": _plan_from_json(fields["plan"], spec),
    }
    plain = {name: value for name, value in fields.items() if name not in own}
    return typed(MomentStage, plain, "moments", **own)


def _old_stage(fields: JSON, spec: MixtureSpec) -> MomentStage:
    """Version 0.1 kept a plan as text; its one run of views says it again."""
    runs = tuple(typed(RunReport, run, "moments.runs") for run in fields["runs"])
    plan = None
    if fields.get("plan") and runs:
        one, two, three = (tuple(map(spec.vertex, view)) for view in runs[0].views)
        plan = complete_plan(spec, (one, two, three), tuple(map(spec.vertex, runs[0].given)))
    notes = (checked(str, sentence, "notes") for sentence in fields["notes"])
    own = {
        "status": Status[fields["status"]],
        "runs": runs,
        "notes": tuple(Note(NoteKind.UNKNOWN, sentence) for sentence in notes),
        "plan": plan,
    }
    plain = {name: value for name, value in fields.items() if name not in own}
    return typed(MomentStage, plain, "moments", **own)


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
        default = checked(tuple[int, ...], fields["default"], "plan.default")
        check_vertices(spec, default)
        return plan_boundaries(spec, default)
    plain = {name: fields[name] for name in ("layers", "uncovered")}
    runs = tuple(typed(Run, run, "plan.runs") for run in fields["runs"])
    links = tuple(typed(Link, link, "plan.links") for link in fields["links"])
    plan = typed(Plan, plain, "plan", spec=spec, runs=runs, links=links)
    for run in runs:
        check_vertices(spec, (*(v for view in run.views for v in view), *run.conditioning))
        check_vertices(spec, run.covers)
    for link in links:
        check_vertices(spec, (link.vertex, *link.aligners))
        if not 0 <= link.run < len(runs):
            raise FileError(f"plan.links: expected one of {len(runs)} runs, found {link.run}")
    check_vertices(spec, (*(v for layer in plan.layers for v in layer), *plan.uncovered))
    return plan


def check_vertices(spec: MixtureSpec, vertices: Iterable[int]) -> None:
    """Refuse numbers that are no vertices, of which a negative one would count from the end.

    Raises:
        FileError: names the number.
    """
    for v in vertices:
        if not SOURCE <= v < spec.n_variables:
            raise FileError(f"expected vertices {SOURCE}..{spec.n_variables - 1}, found {v}")


def note_to_json(note: Note) -> dict[str, Any]:
    """A note as JSON fields; ``note_from_json`` reads them."""
    return {"kind": note.kind.value, "sentence": note.sentence, "data": dict(note.data)}


def note_from_json(fields: JSON) -> Note:
    """A note from JSON fields; kinds of a later version are unknown ones.

    Raises:
        FileError: a field is of another type than declared.
        KeyError: a field is missing.
    """
    found = checked(Mapping, fields, "notes")
    kind = checked(str, found["kind"], "notes.kind")
    known = NoteKind(kind) if kind in {*NoteKind} else NoteKind.UNKNOWN  # of a later version
    said = {name: value for name, value in found.items() if name != "kind"}
    return typed(Note, said, "notes", kind=known)
