"""How golden texts are compared: prose is free, figures, names and options are not."""

from __future__ import annotations

import pytest
from golden_text import help_differences, section_differences

SECTION = """10. Predictive checks
---------------------
Pair margins  0 of 28 contradict the model, X and Y worst
Level         0.05 for each family

Pairs that deviate most
  pair  cell     observed  p
  X, Y  yes, no    0.0614  1
  X, Z  no, no     1,234   3.2e-05
"""

NAMES = ("X", "Y", "Z", "yes", "no")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("contradict the model, X and Y worst", "speak against it; Y and X\n  most of all"),
        ("0.0614", "0.0615"),
        ("3.2e-05", "3.3e-05"),
        ("Pairs that deviate most", "The worst pairs"),
        ("observed  p", "seen      p-value"),
        ("0 of 28", "of 28 pairs 0"),
    ],
)
def test_other_words_and_another_last_digit_are_the_same_facts(old, new):
    assert old in SECTION
    assert section_differences(SECTION, SECTION.replace(old, new), NAMES) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0 of 28", "1 of 28"),
        ("0 of 28", "none of 28"),
        ("0.05", "0.07"),
        ("X and Y worst", "X worst"),
        ("0.0614", "0.0616"),
        ("1,234", "1,235"),
        ("3.2e-05", "3.2e-04"),
        ("  X, Z  no, no     1,234   3.2e-05\n", ""),
        ("X, Z  no", "X, Y  no"),
        ("yes, no    0.0614", "no, yes    0.0614"),
        ("\n\nPairs", "\nPairs"),
    ],
)
def test_another_figure_name_row_or_table_is_another_fact(old, new):
    assert old in SECTION
    assert section_differences(SECTION, SECTION.replace(old, new), NAMES)


HELP = """Usage: pyromix do [OPTIONS] {fitted}

 Answer.

 Example: pyromix do fit.pyromix --query Y

╭─ Options ──────────────────────────────╮
│ *  --query   <str>  Outcome. [required] │
│    --require <str>  Certainty.          │
│                     [default: local]    │
│    --quiet -q <bool> No messages.       │
╰─────────────────────────────────────────╯
"""


def test_help_may_be_worded_and_wrapped_otherwise():
    new = HELP.replace("Certainty.          │", "How certain: local, │").replace("Answer.", "Ask.")
    assert help_differences(HELP, new) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--quiet", "--silent"),
        ("--require <str>", "--require <int>"),
        ("[default: local]", "[default: none] "),
        ("[required]", "          "),
        (" -q ", "    "),
        ("pyromix do fit.pyromix --query Y", "pyromix do fit.pyromix"),
        ("[OPTIONS] {fitted}", "[OPTIONS]"),
    ],
)
def test_an_option_default_or_example_of_help_is_a_fact(old, new):
    assert old in HELP
    assert help_differences(HELP, HELP.replace(old, new))
