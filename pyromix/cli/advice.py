"""What a report advises those who read it at a command line."""

from __future__ import annotations

from pyromix.cli.flags import in_flags
from pyromix.model.spec import MixtureSpec
from pyromix.report.advice import Advice


def commands(spec: MixtureSpec) -> Advice:
    """The advice of a report on a fit.

    Args:
        spec: whose names of variables are no flags.
    """
    return Advice(
        ask="pyromix report FIT --treatment X --outcome Y",
        choose="pyromix select DATA --n-sources 1..4",
        show_choice="pyromix report FIT --selection 1..4",
        iterate="raise --max-iter of pyromix fit",
        start="raise --n-init of pyromix fit",
        refused="pyromix effect refuses this answer",
        no_sensitivity="--no-sensitivity",
        words=lambda text: in_flags(text, spec.variables),
    )
