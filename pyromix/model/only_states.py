"""What fits of states have and fits with numbers have not, refused by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pyromix.errors import StatesOnlyError

P = ParamSpec("P")
R = TypeVar("R")

A_FIT_OF_STATES = "discretize= of px.fit makes a fit of states, which has it"
"""What to try where nothing else does."""


def without(**reasons: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse options that the same verb of a fit of states has.

    None and False ask for nothing, and pass.

    Args:
        **reasons: by name of the option what to do instead, a clause.
    """

    def of(verb: Callable[P, R]) -> Callable[P, R]:
        @wraps(verb)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in reasons.keys() & kwargs.keys():
                given = kwargs.pop(name)
                if given is not None and given is not False:
                    raise StatesOnlyError(
                        f"{name}= is for fits of states, and this one has numbers; {reasons[name]}"
                    )
            return verb(*args, **kwargs)

        return checked

    return of
