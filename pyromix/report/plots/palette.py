"""Colours that the colour-blind can tell apart, with a marker and a hatch for print without colour.

Okabe and Ito, Color universal design (2008).
"""

from __future__ import annotations

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE = "#666666", "#EEEEEE"

WITHIN = (BLUE, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

VIEWS = {"view 1": SKY, "view 2": ORANGE, "view 3": GREEN, "given": YELLOW}
"""Fill of a vertex by its part in the plan; the part is written into it as well."""


def tint(colour: str, share: float = 0.45) -> tuple[float, float, float]:
    """Mix a colour with white, so that black text stands out on it.

    Args:
        colour: ``#rrggbb``.
        share: how much of the colour stays.
    """
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return (
        1 - share * (1 - red),
        1 - share * (1 - green),
        1 - share * (1 - blue),
    )
