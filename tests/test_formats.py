"""The formats themselves: spellings of other tools, broken files, and agreement with pgmpy."""

from __future__ import annotations

import gzip
from pathlib import Path

import pgmpy
import pytest
import torch
from laws.formats import assert_same, mixture_with, names_of
from pgmpy.models import DiscreteBayesianNetwork
from pgmpy.readwrite import BIFReader
from test_files import TEXT

from pyromix.bridges.pgmpy import mixture_from_pgmpy, structure_of, to_pgmpy
from pyromix.errors import (
    AddedSourceWarning,
    FileError,
    NumericalWarning,
    SpecError,
)
from pyromix.formats.files import NETWORK_SUFFIXES, read, read_structure, write

# -- broken files ----------------------------------------------------------------------------


BIF = """network n {
}
variable A {
  type discrete [ 2 ] { no, yes };
}
variable B {
  type discrete [ 3 ] { lo, mid, hi };
}
probability ( A ) {
  table 0.25, 0.75;
}
probability ( B | A ) {
  (no) 0.1, 0.2, 0.7;
  (yes) 0.3, 0.3, 0.4;
}
"""


def bif(tmp_path, *changes):
    text = BIF
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "net.bif").write_text(text)
    return tmp_path / "net.bif"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[ 3 ]", "[ 4 ]"), r"'B' announces 4 states, found 3"),
        (("( B | A )", "( B | C )"), r"\['C'\], which no variable block declares"),
        (("(yes)", "(maybe)"), r"state 'maybe' of 'A'"),
        (("(yes)", "(no, yes)"), r"a state of each of \['A'\]"),
        (("  (yes) 0.3, 0.3, 0.4;\n", ""), r"each of 2 settings of \['A'\], found 1"),
        (("0.25, 0.75", "0.25"), r"'A' needs 2 numbers for cards \[2\], found 1"),
        (("0.25, 0.75", "0.25, x"), r"'A': .*'x'"),
        (("type discrete [ 2 ]", "type continuous"), r"type discrete"),
        (("  table", "  tabel"), r"cannot read 'tabel"),
        (("probability ( A ) {\n  table 0.25, 0.75;\n}\n", ""), r"no table for \['A'\]"),
        (("variable B", "variable A"), r"'A' is defined twice"),
        (("network n {\n}", "network n {\n}\nstray"), r"'stray.*at line 3"),
    ],
)
def test_a_broken_bif_names_the_spot(tmp_path, change, message):
    with pytest.raises(FileError, match=message):
        read(bif(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.25, 0.75", "0.25, 0.5"), r"net\.bif: .*'A' must sum to one"),
        (("0.25, 0.75", "-0.25, 1.25"), r"'A' has negative entries"),
        (("0.25, 0.75", "nan, 0.75"), r"'A' has 1 entries not finite"),
        (("{ no, yes }", "{ no, no }"), r"states of 'A' must be distinct"),
    ],
)
def test_an_unusable_network_in_a_good_bif_names_the_file(tmp_path, change, message):
    with pytest.raises((SpecError, FileError), match=message):
        read(bif(tmp_path, change))


def test_a_cycle_in_a_file_is_spelled_out(tmp_path):
    table = "probability ( A | B ) {\n  default 0.25, 0.75;\n}"
    path = bif(tmp_path, ("probability ( A ) {\n  table 0.25, 0.75;\n}", table))
    with pytest.raises(SpecError, match=r"net\.bif: the graph has a cycle: "):
        read(path)


@pytest.mark.parametrize(
    "change",
    [
        ("network n {", "// a note {\nnetwork n { /* } */"),
        ("(no) 0.1, 0.2, 0.7", "(no) 0.1 0.2 0.7"),
        ("lo, mid, hi", "lo mid hi"),
        ("lo, mid, hi", '"lo" "mid" "hi"'),
        ("variable B", 'variable "B"'),
        ("( B | A )", "( B A )"),
        ("( B | A )", '("B"|"A")'),
        ("  (no) 0.1, 0.2, 0.7;\n", "  default 0.1, 0.2, 0.7;\n"),
        ("  (no) 0.1, 0.2, 0.7;\n  (yes) 0.3, 0.3, 0.4;", "  table .1, .3, .2, .3, .7, .4;"),
        ("{ no, yes };", "{ no, yes };\n  property position = (3, 4) ;"),
    ],
)
def test_bif_has_many_spellings(tmp_path, change):
    assert_same(read(bif(tmp_path)), read(bif(tmp_path, change)))


def test_bif_rows_may_stand_in_any_order(tmp_path):
    rows = ("  (no) 0.1, 0.2, 0.7;\n", "  (yes) 0.3, 0.3, 0.4;\n")
    assert_same(read(bif(tmp_path)), read(bif(tmp_path, ("".join(rows), "".join(rows[::-1])))))


def test_rows_that_were_rounded_hard_are_divided_and_said(tmp_path):
    with pytest.warns(NumericalWarning, match=r"'A', off by 0\.001"):
        mixture = read(bif(tmp_path, ("0.25, 0.75", "0.25, 0.749")))
    assert float(mixture.cpts[0].sum()) == pytest.approx(1, abs=1e-15)


XMLBIF = """<?xml version="1.0"?>
<!DOCTYPE BIF [ <!ELEMENT BIF ( NETWORK )*> ]>
<BIF VERSION="0.3"><NETWORK><NAME>n</NAME>
<VARIABLE TYPE="nature"><NAME>A</NAME><OUTCOME>no</OUTCOME><OUTCOME> yes </OUTCOME></VARIABLE>
<VARIABLE TYPE="nature"><NAME>B</NAME>
  <OUTCOME>lo</OUTCOME><OUTCOME>mid</OUTCOME><OUTCOME>hi</OUTCOME></VARIABLE>
<DEFINITION><FOR>A</FOR><TABLE>0.25 0.75</TABLE></DEFINITION>
<DEFINITION><FOR>B</FOR><GIVEN>A</GIVEN>
<TABLE>0.1 0.2 0.7 <!-- yes --> 0.3 0.3 0.4</TABLE></DEFINITION>
</NETWORK></BIF>
"""

XDSL = """<?xml version="1.0"?><smile version="1.0" id="n"><nodes>
<cpt id="A"><state id="no"/><state id="yes"/><probabilities>0.25 0.75</probabilities></cpt>
<cpt id="B"><state id="lo"/><state id="mid"/><state id="hi"/><parents>A</parents>
<probabilities>0.1 0.2 0.7 0.3 0.3 0.4</probabilities></cpt>
</nodes><extensions><genie/></extensions></smile>
"""

NET = """% made by hand
net { node_size = (80 40); }
node A { label = "the first, (A)"; states = ("no" "yes"); }
discrete node B { states = ("lo" "mid" "hi"); position = (1 2); }
potential (A) { data = ( 0.25 0.75 ); }
potential (B | A) { data = ((0.1 0.2 0.7) % no
  (0.3 0.3 0.4)); /* yes */ }
"""


@pytest.mark.parametrize(("suffix", "text"), [(".xmlbif", XMLBIF), (".xdsl", XDSL), (".net", NET)])
def test_files_of_other_tools_say_the_same(tmp_path, suffix, text):
    (tmp_path / f"net{suffix}").write_text(text)
    assert_same(read(bif(tmp_path)), read(tmp_path / f"net{suffix}"))


@pytest.mark.parametrize(
    ("suffix", "text", "change", "message"),
    [
        (".xmlbif", XMLBIF, ('"nature"><NAME>A', '"decision"><NAME>A'), "'A' is a decision"),
        (".xmlbif", XMLBIF, ("<GIVEN>A", "<GIVEN>C"), r"unknown variables \['C'\]"),
        (".xmlbif", XMLBIF, ("<TABLE>0.25 0.75</TABLE>", ""), "expected a 'TABLE'"),
        (".xmlbif", XMLBIF, ("0.25 0.75", "0.25"), "'A' needs 2 numbers"),
        (".xmlbif", XMLBIF, ("<FOR>A", "<FOR>B"), "'B'"),
        (".xdsl", XDSL, ("</nodes>", "<utility/></nodes>"), r"\['utility'\]"),
        (".xdsl", XDSL, ("0.25 0.75", "0.25 .x"), "'A': .*'.x'"),
        (".xdsl", XDSL, ("smile", "smule"), "root element 'smile', found 'smule'"),
        (".net", NET, ("discrete node B", "continuous node B"), "found 'continuous' at line 4"),
        (".net", NET, ("potential (A)", "potential (C)"), r"potential over \['C'\]"),
        (".net", NET, ("0.25 0.75", "0.25"), "'A' needs 2 numbers"),
        (".net", NET, ('states = ("no" "yes"); ', ""), "the states of 'A'"),
        (".net", NET, ("net {", "net ["), r"expected '\{', found '\[' at line 2"),
    ],
)  # fmt: skip
def test_a_broken_file_names_the_spot(tmp_path, suffix, text, change, message):
    assert change[0] in text
    (tmp_path / f"net{suffix}").write_text(text.replace(*change))
    with pytest.raises(FileError, match=message):
        read(tmp_path / f"net{suffix}")


def test_a_deterministic_vertex_of_genie_is_a_table_of_zeros_and_ones(tmp_path):
    node = (
        '<deterministic id="C"><state id="off"/><state id="on"/><parents>B</parents>'
        "<resultingstates>on off on</resultingstates></deterministic></nodes>"
    )
    (tmp_path / "net.xdsl").write_text(XDSL.replace("</nodes>", node))
    assert read(tmp_path / "net.xdsl").cpts[2][0].tolist() == [[0, 1], [1, 0], [0, 1]]


# -- UAI -------------------------------------------------------------------------------------

UAI = "BAYES 2 2 3 2 1 0 2 0 1 2 .25 .75 6 .1 .2 .7 .3 .3 .4"


def test_uai_without_a_sidecar_has_numbered_names(tmp_path):
    (tmp_path / "net.uai").write_text(UAI)
    mixture = read(tmp_path / "net.uai")
    assert mixture.spec.variables == ("var_0", "var_1")
    assert mixture.spec.states == ((0, 1), (0, 1, 2))
    assert mixture.cpts[1][0].tolist() == [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]
    assert read(tmp_path / "net.uai", source="var_0").spec.n_sources == 2


def test_uai_writes_both_files_or_none(tmp_path):
    write(mixture_with(), tmp_path / "net.uai")
    assert names_of(tmp_path) == ["net.uai", "net.uai.names.json"]


def test_a_sidecar_of_another_file_is_refused(tmp_path):
    write(mixture_with(), tmp_path / "net.uai")
    (tmp_path / "net.uai").write_text(UAI)
    with pytest.raises(FileError, match="belongs to another version"):
        read(tmp_path / "net.uai")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2, "sha256": "", "variables": [], "roles": {}}']
)
def test_a_broken_sidecar_is_refused(tmp_path, content):
    (tmp_path / "net.uai").write_text(UAI)
    (tmp_path / "net.uai.names.json").write_text(content)
    with pytest.raises(FileError, match="sidecar"):
        read(tmp_path / "net.uai")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ('"sha256": "', "belongs to another version"),
        ('"variables": [', "unreadable"),
        ('"states": [\n    "no"', "neither text, number nor boolean"),
        ('"exposures": [', r"unknown variables \['W'\]"),
    ],
)
def test_a_damaged_sidecar_is_refused(tmp_path, part, message):
    write(mixture_with(), tmp_path / "net.uai")
    names = tmp_path / "net.uai.names.json"
    text = names.read_text()
    assert part in text
    damage = {'"sha': '"sha256": "0', '"var': '"variables": [[],', '"sta': '"states": [["no"]'}
    names.write_text(text.replace(part, damage.get(part[:4], '"exposures": ["W",')))
    with pytest.raises(FileError, match=message):
        read(tmp_path / "net.uai")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (UAI.replace("BAYES", "MARKOV"), "begins with BAYES, found 'MARKOV'"),
        (UAI.replace("2 0 1 2", "2 1 0 2"), "one table per variable"),
        (UAI.replace("2 0 1 2", "2 7 1 2"), r"variables 0\.\.1"),
        (UAI.replace("6 .1", "60000000000000 .1"), "'var_1' needs 6 numbers"),
        (UAI + " 3", "expected the end"),
        ("BAYES -1", "the number of variables, found '-1'"),
        ("BAYES 0 0", "declares no variable"),
    ],
)
def test_a_broken_uai_names_the_spot(tmp_path, text, message):
    (tmp_path / "net.uai").write_text(text)
    with pytest.raises(FileError, match=message):
        read(tmp_path / "net.uai")


# -- structures ------------------------------------------------------------------------------


def test_a_file_without_a_source_gets_one_and_says_so(tmp_path):
    path = bif(tmp_path)
    with pytest.warns(AddedSourceWarning):
        spec = structure_of(path).to_spec(2)
    assert (spec.variables, spec.uninfluenced) == (("A", "B"), frozenset())


def test_a_vertex_of_the_name_is_the_source_although_the_file_cannot_say_so(tmp_path):
    path = bif(tmp_path, ("variable A", "variable U"), ("( A )", "( U )"), ("| A", "| U"))
    assert read(path).spec.source_states == ("no", "yes")
    assert read_structure(path).n_sources == 2
    assert read(bif(tmp_path), source="A").spec.source == "A"


def test_a_source_with_parents_names_the_file_and_the_way_out(tmp_path):
    path = bif(tmp_path)
    with pytest.raises(SpecError, match=r"net\.bif: the source 'B' must be a root.*source=NAME"):
        read(path, source="B")


# -- with pgmpy ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", TEXT)
def test_pgmpy_reads_what_we_write(tmp_path, suffix):
    mixture = mixture_with(source_states=("left", "right"))
    write(mixture, tmp_path / f"net{suffix}")
    model = DiscreteBayesianNetwork.load(str(tmp_path / f"net{suffix}"))
    back = mixture_from_pgmpy(model)
    assert back.spec.source == "U"
    for name in mixture.spec.variables:
        ours, theirs = mixture.spec.vertex(name), back.spec.vertex(name)
        assert mixture.spec.states[ours] == back.spec.states[theirs]
        assert torch.equal(mixture.cpts[ours], back.cpts[theirs])


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".bif", 0), (".xmlbif", 0), (".xdsl", 1e-15), (".net", 1e-8)]
)
def test_we_read_what_pgmpy_writes(tmp_path, suffix, tolerance):
    mixture = mixture_with()
    to_pgmpy(mixture).save(str(tmp_path / f"net{suffix}"))
    back = read(tmp_path / f"net{suffix}")
    assert back.spec.source_states == (0, 1)
    for name in mixture.spec.variables:
        ours, theirs = mixture.spec.vertex(name), back.spec.vertex(name)
        assert mixture.spec.states[ours] == back.spec.states[theirs]
        torch.testing.assert_close(mixture.cpts[ours], back.cpts[theirs], rtol=0, atol=tolerance)


BUNDLED = Path(pgmpy.__file__).parent / "utils" / "example_models"
NETWORKS = ("asia", "sachs", "alarm")


@pytest.mark.parametrize("name", NETWORKS)
def test_our_bif_reader_agrees_with_pgmpys(name):
    path = BUNDLED / f"{name}.bif.gz"
    theirs = mixture_from_pgmpy(
        BIFReader(string=gzip.decompress(path.read_bytes()).decode()).get_model()
    )
    assert_same(read(path), theirs)


LARGE = ("child", "hepar2", "andes", "hailfinder", "pigs")


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_our_bif_reader_agrees_with_pgmpys_on_large_networks(name):
    test_our_bif_reader_agrees_with_pgmpys(name)


@pytest.mark.parametrize("suffix", NETWORK_SUFFIXES)
def test_a_real_network_survives_every_format(tmp_path, suffix):
    alarm = read(BUNDLED / "alarm.bif.gz")
    write(alarm, tmp_path / f"net{suffix}")
    assert_same(alarm, read(tmp_path / f"net{suffix}"))


def test_a_uai_table_with_its_own_variable_as_the_slowest_axis_is_refused_and_explained(tmp_path):
    """P(B | A), two states by three, written B first: as rows they sum to 1.4 and .6."""
    text = "BAYES\n2\n2 3\n2\n1 0\n2 0 1\n\n2 0.5 0.5\n\n6 0.2 0.6 0.6 0.2 0.2 0.2\n"
    path = tmp_path / "slow.uai"
    path.write_text(text)
    with pytest.raises(FileError, match="fastest axis"):
        read(path)
