"""Network files as strangers keep them: read rightly, with a word where something was settled."""

from __future__ import annotations

import gzip
import shutil
import warnings
import zipfile
from pathlib import Path

import pytest
from laws.formats import assert_same, mixture_with

import pyromix as px
from pyromix.formats.files import NETWORK_SUFFIXES, read_structure

FOLDER = Path(__file__).parent / "data" / "strangers"


def law(mixture, name, given=None):
    return px.query(mixture, [name], evidence=given or {}).values.tolist()


def said(path, category=px.DataRepairWarning):
    """The mixture of a file, and the one warning it gives."""
    with pytest.warns(category) as given:
        mixture = px.read(path)
    assert len(given) == 1
    return mixture, str(given[0].message)


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- content over ending -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["namespace.xmlbif", "javabayes_ending.xml", "agrum_ending.bifxml"]
)
def test_xmlbif_is_known_by_other_endings_and_with_a_namespace(name):
    assert law(px.read(FOLDER / name), "a") == pytest.approx([0.2, 0.8])


def test_blanks_before_the_declaration_do_no_harm(tmp_path):
    text = '\n  <?xml version="1.0"?>\n' + (FOLDER / "javabayes_ending.xml").read_text()
    assert law(px.read(written(tmp_path, "net.xmlbif", text)), "a") == pytest.approx([0.2, 0.8])


@pytest.mark.parametrize("held", [".bif", ".xmlbif", ".xdsl", ".net", ".uai", ".pyromix"])
@pytest.mark.parametrize("named", [".bif", ".xmlbif", ".xdsl", ".net", ".pyromix", ".bif.gz"])
def test_a_file_is_read_as_what_it_holds_whatever_it_is_called(tmp_path, held, named):
    px.write(mixture_with(), tmp_path / f"first{held}")
    content = (tmp_path / f"first{held}").read_bytes()
    zipped = named.endswith(".gz")
    path = written(tmp_path, f"second{named}", gzip.compress(content) if zipped else content)
    if zipped and held == ".pyromix":
        pytest.skip("a bundle is a zip file already")
    if held == named.removesuffix(".gz"):
        assert_same(px.read(path), mixture_with())
        return
    if held == ".pyromix":  # its bytes alone say so
        assert_same(px.read(path), mixture_with())
        return
    mixture, sentence = said(path)
    assert f"ends in {named} holds" in sentence
    assert mixture.spec.cards == mixture_with().spec.cards or held == ".uai"


@pytest.mark.parametrize("suffix", [".xmlbif", ".xdsl", ".net", ".uai"])
def test_every_format_is_read_out_of_gzip(tmp_path, suffix):
    px.write(mixture_with(), tmp_path / f"net{suffix}")
    content = (tmp_path / f"net{suffix}").read_bytes()
    path = written(tmp_path, f"zipped{suffix}.gz", gzip.compress(content))
    assert px.read(path).spec.n_variables >= 3


@pytest.mark.parametrize("name", ["n.oobn", "n.dne", "n.neta", "n.o3prm", "n.pkl"])
def test_what_is_not_supported_is_said_with_a_way_out(tmp_path, name):
    with pytest.raises(px.PyromixError, match=r"not supported: .*(save|unfold)"):
        px.read(written(tmp_path, name, "x"))


@pytest.mark.parametrize("suffix", [".xml", ".bifxml", ".net.gz"])
def test_endings_that_are_read_only_are_refused_by_the_writer(tmp_path, suffix):
    with pytest.raises(px.PyromixError, match="read only"):
        px.write(mixture_with(), tmp_path / f"net{suffix}")
    assert not [*tmp_path.iterdir()]


# -- BIF ---------------------------------------------------------------------------------------


def test_a_blank_in_the_state_of_a_single_parent_is_part_of_it(tmp_path):
    mixture = px.read(FOLDER / "blank_in_state_one_parent.bif")
    assert law(mixture, "c", {"s": "never smoked"}) == pytest.approx([0.9, 0.1])
    px.write(mixture, tmp_path / "again.bif")
    assert_same(px.read(tmp_path / "again.bif"), mixture)


@pytest.mark.parametrize("n_parents", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".bif", ".bif.gz", ".xmlbif", ".xdsl", ".net", ".uai"])
def test_states_with_blanks_come_back_whatever_the_number_of_parents(tmp_path, suffix, n_parents):
    names = [f"P{i}" for i in range(n_parents)]
    states = dict.fromkeys([*names, "Y"], ("a b", "a", "b a c"))
    mixture = px.random_mixture(px.MixtureSpec.from_parents(states, {"Y": names}, 1))
    px.write(mixture, tmp_path / f"net{suffix}")
    assert_same(px.read(tmp_path / f"net{suffix}"), mixture)


BIF = """network n {{ property "a;b" ; }}
variable A {{ type discrete [ 2 ] {{ no, yes }};{more} }}
variable B {{ type discrete [ 2 ] {{ lo, hi }}; property p = "x ; y {{" ; }}
probability ( A ) {{ table 0.25, 0.75; {after} }}
probability ( B | A ) {{ (no) 0.1, 0.9; (yes) 0.6, 0.4; {rows} }}
"""


def bif(tmp_path, more="", after="", rows=""):
    return written(tmp_path, "net.bif", BIF.format(more=more, after=after, rows=rows))


def test_properties_may_stand_anywhere_and_hold_semicolons_in_quotes(tmp_path):
    path = bif(tmp_path, 'property x = "type discrete; [ 2 ]";', "property y;", "property z;")
    assert law(px.read(path), "B", {"A": "no"}) == pytest.approx([0.1, 0.9])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": "type discrete [ 2 ] { x, y };"}, "one type of 'A', found a second"),
        ({"more": "somethng else;"}, "cannot read 'somethng else' in the block of 'A'"),
        ({"after": "table 0.5, 0.5;"}, "more than once"),
        ({"after": "0.5, 0.5;"}, "cannot read '0.5, 0.5' in the table of 'A'"),
        ({"after": "default 0.5, 0.5;"}, "more than once"),
        ({"rows": "(no) 0.5, 0.5;"}, r"'B' has a second row \('no'\)"),
        ({"rows": "default 0.5, 0.5; default 0.5, 0.5;"}, "2 of 'default'"),
        ({"rows": "table 0.5, 0.5, 0.5, 0.5;"}, "more than once"),
    ],
)
def test_what_a_block_says_twice_or_to_nobody_is_refused(tmp_path, change, message):
    with pytest.raises(px.PyromixError, match=message):
        px.read(bif(tmp_path, **change))


def test_two_networks_in_a_file_are_refused(tmp_path):
    text = bif(tmp_path).read_text()
    with pytest.raises(px.PyromixError, match="one network block, found 2"):
        px.read(written(tmp_path, "two.bif", f"network m {{ }}\n{text}"))


# -- UAI, NET ----------------------------------------------------------------------------------


def test_comments_of_a_uai_file_are_left_out():
    mixture = px.read(FOLDER / "comments.uai")
    assert law(mixture, "var_1", {"var_0": 1}) == pytest.approx([0.4, 0.6])
    assert law(mixture, "var_0") == pytest.approx([0.3, 0.7])


def test_a_latin_1_byte_is_read_and_said():
    mixture, sentence = said(FOLDER / "latin1_comment.net")
    assert law(mixture, "a") == pytest.approx([0.2, 0.8])
    assert mixture.spec.states == (("oui", "non"),)
    assert "byte 0xe9 at position 5" in sentence
    assert "Latin-1" in sentence


def test_counts_in_a_net_file_become_shares_and_are_said():
    mixture, sentence = said(FOLDER / "counts.net")
    assert law(mixture, "a") == pytest.approx([0.2, 0.8])
    assert "'a'" in sentence
    assert "counts" in sentence


@pytest.mark.parametrize("numbers", ["0.2 0.9", "-200 800", "0 0", "nan 1", "inf 2"])
def test_what_is_neither_counts_nor_shares_is_refused(tmp_path, numbers):
    text = (FOLDER / "counts.net").read_text().replace("200 800", numbers)
    with pytest.raises(px.PyromixError, match="'a'"):
        px.read(written(tmp_path, "net.net", text))


def test_a_node_of_one_state_is_left_out_and_said():
    mixture, sentence = said(FOLDER / "one_state.net")
    assert mixture.spec.variables == ("b",)
    assert law(mixture, "b") == pytest.approx([0.2, 0.8])
    assert "a (only)" in sentence


def test_a_constant_between_others_leaves_their_tables_alone(tmp_path):
    text = BIF.format(more="", after="", rows="").replace(
        "probability ( B | A ) { (no) 0.1, 0.9; (yes) 0.6, 0.4;  }",
        "variable C { type discrete [ 1 ] { the only one }; }\n"
        "probability ( C | A ) { table 1, 1; }\n"
        "probability ( B | C, A ) { (the only one, no) 0.1, 0.9; (the only one, yes) 0.6, 0.4; }",
    )
    path = written(tmp_path, "net.bif", text)
    mixture, sentence = said(path)
    assert "C (the only one)" in sentence
    assert law(mixture, "B", {"A": "yes"}) == pytest.approx([0.6, 0.4])
    with pytest.warns(px.DataRepairWarning):
        assert read_structure(path).parents == {"A": (), "B": ("A",)}


@pytest.mark.parametrize("field", ['states = ("u" "v");', "data = (0.5 0.5);"])
def test_a_field_of_a_net_block_stands_once(tmp_path, field):
    what = field.split()[0]
    text = (FOLDER / "counts.net").read_text().replace(f" {what} =", f" {field}\n {what} =")
    with pytest.raises(px.PyromixError, match=f"one '{what}' in a block"):
        px.read(written(tmp_path, "net.net", text))


# -- XML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [[], [(' dynamic="plate"', "")], [("<dynamic", "<other"), ("</dynamic>", "</other>")]],
    ids=["both", "arcs alone", "a plate alone"],
)
def test_a_network_in_time_is_refused(tmp_path, changes):
    text = (FOLDER / "dynamic.xdsl").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(px.PyromixError, match="static network, found a dynamic one"):
        px.read(written(tmp_path, "net.xdsl", text))


def test_the_order_of_genie_is_taken_and_the_writer_named(tmp_path):
    mixture, sentence = said(FOLDER / "written_by_pyagrum.xdsl")
    given = {"A": "lo", "B": "y"}
    assert law(mixture, "C", given) == pytest.approx([0.6, 0.4])
    assert "pyAgrum" in sentence
    assert "reverse the names in every <parents>" in sentence
    text = (FOLDER / "written_by_pyagrum.xdsl").read_text().replace(">A B<", ">B A<")
    other, _ = said(written(tmp_path, "net.xdsl", text))
    assert law(other, "C", given) == pytest.approx([0.8, 0.2])


def test_where_the_order_does_not_matter_nothing_is_said(tmp_path):
    text = (FOLDER / "written_by_pyagrum.xdsl").read_text()
    text = text.replace(">A B<", ">A<").replace("0.8 0.2 0.5 0.5 0.7 0.3 0.4 0.6", "")
    mixture = px.read(written(tmp_path, "net.xdsl", text))
    assert law(mixture, "C", {"A": "hi"}) == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize("tag", ["TABLE", "FOR", "NAME"])
def test_an_element_that_stands_twice_is_refused(tmp_path, tag):
    text = (FOLDER / "javabayes_ending.xml").read_text()
    start = text.rindex(f"<{tag}>")
    piece = text[start : text.index(f"</{tag}>", start) + len(tag) + 3]
    with pytest.raises(px.PyromixError, match=f"expected a '{tag}' inside .*, found 2"):
        px.read(written(tmp_path, "net.xmlbif", text.replace(piece, piece + piece)))


def test_states_of_one_name_are_refused_by_every_reader(tmp_path):
    for name, old, new in (
        ("counts.net", '"y"', '"x"'),
        ("javabayes_ending.xml", "<OUTCOME>f", "<OUTCOME>t"),
        ("written_by_pyagrum.xdsl", 'id="hi"', 'id="lo"'),
        ("blank_in_state_one_parent.bif", "{ no, yes }", "{ no, no }"),
    ):
        text = (FOLDER / name).read_text()
        assert old in text
        with pytest.raises(px.PyromixError, match="distinct"):
            px.read(written(tmp_path, name, text.replace(old, new)))


def test_our_xdsl_has_the_drawing_that_other_readers_ask_for(tmp_path):
    """smile > extensions > genie > node, each with its id and the same name."""
    from xml.etree import ElementTree

    px.write(mixture_with(), tmp_path / "net.xdsl")
    root = ElementTree.parse(tmp_path / "net.xdsl").getroot()
    nodes = root.findall("extensions/genie/node")
    assert [node.get("id") for node in nodes] == [n.get("id") for n in root.find("nodes")]
    assert [node.findtext("name") for node in nodes] == [node.get("id") for node in nodes]
    places = [tuple(map(int, node.findtext("position").split())) for node in nodes]
    assert len(set(places)) == len(places)
    assert all(left < right and top < low for left, top, right, low in places)


# -- JSON --------------------------------------------------------------------------------------


def test_a_name_that_stands_twice_in_json_is_refused(tmp_path):
    px.write(mixture_with(), tmp_path / "net.uai")
    names = tmp_path / "net.uai.names.json"
    names.write_text(names.read_text().replace('"format": 1', '"format": 1, "format": 1'))
    with pytest.raises(px.PyromixError, match="stands twice"):
        px.read(tmp_path / "net.uai")
    px.write(mixture_with(), tmp_path / "net.pyromix")
    with zipfile.ZipFile(tmp_path / "net.pyromix") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "net.pyromix", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b'"format": 1', b'"format": 1, "format": 1'))
    with pytest.raises(px.PyromixError, match="stands twice"):
        px.read(tmp_path / "net.pyromix")


@pytest.mark.parametrize("named", [".xml", ".xdsl", ".net", ".uai"])
def test_sources_are_numbers_whatever_the_file_is_called(tmp_path, named):
    px.write(mixture_with(), tmp_path / "net.bif")
    (tmp_path / "net.bif").rename(tmp_path / f"net{named}")
    mixture, _ = said(tmp_path / f"net{named}")
    assert_same(mixture, mixture_with())


# -- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".arrow", ".feather", ".ipc"])
def test_a_damaged_arrow_file_is_a_named_error(tmp_path, ending):
    shutil.copy(FOLDER / "damaged.arrow", tmp_path / f"t{ending}")
    with pytest.raises(px.PyromixError, match=rf"t\{ending}"):
        px.fit_product(str(tmp_path / f"t{ending}"), 2, prior=None)


def test_every_format_we_write_is_read_without_a_word(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in NETWORK_SUFFIXES:
            px.write(mixture_with(), tmp_path / f"net{suffix}")
            px.read(tmp_path / f"net{suffix}")
