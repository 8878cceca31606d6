"""Questions put to a fit: gated by what data determine, with an interval where one is cheap."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyromix.answers import do as plain
from pyromix.answers import effect as plain_effect
from pyromix.answers.answer import Answer
from pyromix.answers.effect import Effect
from pyromix.answers.gate import admit
from pyromix.answers.group import group_of
from pyromix.answers.heard import hear
from pyromix.errors import QueryError
from pyromix.fitting.record import Fit
from pyromix.model.arguments import flag, level_of
from pyromix.model.mixture import BayesNetMixture, mixture_of
from pyromix.model.query import DoQuery, mapping_of, settings
from pyromix.model.spec import SOURCE, MixtureSpec


def query(
    mixture: BayesNetMixture | Fit,
    variables: str | Sequence[str],
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    engine: str = "auto",
    *,
    require: str = "local",
    interval: bool | None = None,
    level: float = 0.95,
) -> Answer:
    """Answer P(variables | do, evidence).

    A fit is asked as the fit: how certain its graph and its table make the answer is compared with
    ``require``, and its likelihood or its draws give an interval. A bare mixture is plain
    inference: nobody certified it, and nothing is refused for identifiability.

    Args:
        mixture: a fit, or tables; batch axes of tables are draws, and give the answer its interval.
        variables: outcome or outcomes, in the order of the answer's axes.
        do: per variable a state name, a mapping from states to probabilities, or a list of
            either (scenarios).
        evidence: per variable a state name.
        require: least certainty, ``"graphical"``, ``"local"``, ``"discovered"`` (a search in the
            table found the graph), ``"shape"`` (only the shapes assumed of numbers single it out),
            ``"weak"``, ``"unchecked"`` (graph and certificate do not say) or ``"none"``. A table
            that does not show what the graph promises makes an answer weak; its interval is then by
            profile likelihood, with a limit that holds there.
        engine: ``"elimination"`` contracts the tables; ``"pyro"`` runs the Pyro program under
            ``pyro.do`` and ``pyro.condition`` with every site enumerated, and holds about 60
            sites; ``"auto"`` is elimination.
        interval: whether a point estimate's answer comes with standard errors (draws always
            give an interval); by default where they take seconds, however many parameters there
            are.
        level: of the interval that is printed, and that ``interval()`` gives unless told.

    Raises:
        QueryError: a name, state or option is unknown.
        DataError, SpecError: an interval was asked for that cannot be had.
        SpecError: neither a mixture nor a fit was given.
        NotCertifiedError: the certainty falls short of ``require``.
        PositivityError: the evidence is impossible under the do, or every world of the answer
            uses rows no data reached.
    """
    if not isinstance(mixture, Fit):
        return plain.query(mixture_of(mixture), variables, do, evidence, engine)
    fit, level = mixture, level_of(level)
    asked = DoQuery.from_names(fit.spec, variables, do, evidence)
    heard = hear(fit, (asked,), interval)
    return plain.query(
        _asked(fit),
        variables,
        do,
        evidence,
        engine,
        certainty=admit(heard.verdict, require),
        reached=fit.reached,
        point=fit.mixture,
        heard=heard,
        level=level,
    )


def effect(
    mixture: BayesNetMixture | Fit,
    treatment: str | None = None,
    outcome: str | None = None,
    *,
    contrast: Sequence[Hashable] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    among: Mapping[str, Hashable] | None = None,
    per_source: bool = False,
    require: str = "local",
    interval: bool | None = None,
    level: float = 0.95,
    **options: Any,
) -> Effect:
    """Compare the naive difference of an outcome with the difference under a do.

    Args:
        mixture: a fit, or tables, as in ``query``.
        treatment: the variable intervened on; by default the model's one exposure.
        outcome: the variable looked at; by default the model's one outcome.
        contrast: ``(from, to)`` states of the treatment; may be left out for two states.
        evidence: conditions of both arms.
        among: the group whose effect it is, per variable a state: the treatment that they have by
            themselves (``{"X": "treated"}`` asks what it did for those who took it), and variables
            that the treatment does not influence; everybody when left out.
        per_source: also ask within each source, which data determine less often.
        require: least certainty, as in ``query``, of all arms under the do.
        interval: as in ``query``.
        level: as in ``query``.
        **options: ``outcome_state`` and ``engine``, as in ``px.effect``.

    Raises:
        QueryError: a name, state or option is unknown, or the group is told by something that the
            treatment influences.
        NotCertifiedError: the certainty falls short of ``require``.
        PositivityError: an arm has no support, or the group is empty.
    """
    spec, level = mixture_of(mixture).spec, level_of(level)
    per_source = flag("per_source", per_source)
    treatment = role_of(spec, "exposures", "treatment") if treatment is None else treatment
    outcome = role_of(spec, "outcomes", "outcome") if outcome is None else outcome
    if not isinstance(mixture, Fit):
        bare = mixture_of(mixture)
        options |= {"contrast": contrast, "evidence": evidence, "per_source": per_source}
        options["among"] = among
        options["level"] = level
        return plain_effect.effect(bare, treatment, outcome, **options)
    fit = mixture
    natural, given = group_of(spec, treatment, outcome, among, evidence)
    asked = settings(spec, outcome, treatment, given, natural)
    heard = hear(fit, asked, interval)
    admit(heard.verdict, require)
    within = None
    named = (*asked[0].outcomes, *asked[0].do, *asked[0].evidence)
    if per_source and SOURCE not in named:
        within = hear(
            fit, [replace(q, evidence={**q.evidence, SOURCE: 0}) for q in asked], interval
        )
        admit(within.verdict, require)
    return plain_effect.effect(
        _asked(fit),
        treatment,
        outcome,
        contrast=contrast,
        evidence=evidence,
        among=among,
        per_source=per_source,
        reached=fit.reached,
        point=fit.mixture,
        heard=heard,
        heard_within=within,
        heard_naive=hear(fit, _seen(spec, outcome, treatment, given), interval),
        level=level,
        **options,
    )


def _asked(fit: Fit) -> BayesNetMixture:
    """The draws, or the estimate where there are none."""
    return fit.mixture if fit.sampled is None else fit.sampled.mixture


def _seen(
    spec: MixtureSpec, outcome: str, treatment: str, evidence: Mapping[str, Hashable] | None
) -> tuple[DoQuery, ...]:
    """P(outcome | treatment = x, evidence) for every state x: what the naive difference is of."""
    states = spec.states_of(spec.vertex(treatment))
    return tuple(
        DoQuery.from_names(
            spec, outcome, None, {**mapping_of(spec, "evidence", evidence), treatment: s}
        )
        for s in states
    )


def role_of(spec: MixtureSpec, role: str, argument: str) -> str:
    """The one variable that carries a role."""
    vertices = dict(spec.roles).get(role, ())
    if len(vertices) != 1:
        names = [spec.name(v) for v in vertices]
        raise QueryError(
            f"{argument} is not given and the model declares {names} as {role}; name one of "
            f"{list(spec.variables)}"
        )
    return spec.name(vertices[0])
