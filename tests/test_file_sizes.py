"""Files that cost far more than their size: readers are linear, and sizes are worked out first."""

from __future__ import annotations

import gzip
import io
import json
import time
import tracemalloc
import zipfile
from contextlib import suppress
from functools import cache

import pytest
from laws.formats import mixture_with
from safetensors.torch import save as save_tensors

import pyromix as px
from pyromix.errors import FileError, PyromixError
from pyromix.formats.bif import read_bif
from pyromix.formats.bundle import MANIFEST, TENSORS
from pyromix.formats.limits import DEFAULT_LIMIT, LIMIT_VARIABLE, MIB, check_cells, file_limit
from pyromix.formats.net import read_net
from pyromix.formats.toml import read_toml
from pyromix.formats.uai import read_uai
from pyromix.formats.words import shown
from pyromix.formats.xml import read_xdsl, read_xmlbif

# -- time: whatever is repeated, time grows as the text ---------------------

NODE = {
    read_bif: (
        "variable N{0} {{ type discrete [ 2 ] {{ a, b }}; property roles = 'x'; }}\n"
        "probability ( N{0} ) {{ table .5, .5; }}\n"
    ),
    read_net: 'node N{0} {{ states = ("a" "b"); }}\npotential (N{0}) {{ data = (.5 .5); }}\n',
}
OPENINGS = {
    read_bif: [
        "/* ",
        '" ',
        "// ",
        "{ ",
        "} ",
        "variable x { ",
        "variable x { type ",
        "variable x { type discrete [ ",
        "network x { property y ; } ",
        "a ",
        "; ",
        "\n",
        '"\n',
        "/*/ ",
    ],
    read_net: ["/* ", '" ', "% ", "{ ", "node ", "node x { a = ( ", "net { } ", "| ", "\n", "/ "],
    read_uai: ["BAYES ", "1 ", "# ", "#", "\n", "9"],
    read_toml: [
        "a.",
        "[",
        "[a.",
        "{a=",
        '"',
        '"""',
        "'''",
        '"\\"',
        "a=1\n",
        "'a'.",
        '"a".',
        "[[",
        "=",
        "9",
    ],
    read_xmlbif: ["<a>", "<", "&lt;", "<!--", "<a b='", "<a/>", "]]>", "<![CDATA["],
    read_xdsl: ["<a>", "<cpt id='x'>", "<!-- pyAgrum"],
}
HEADS = {
    read_bif: ["", "variable x { type discrete [ 2 ] { a, b }; } probability ( ", "variable x { "],
    read_net: ["", 'node x { states = ("a" "b"); } potential ( x | ', "net { x = "],
    read_uai: ["", "BAYES 2 2 2 ", "BAYES "],
    read_toml: ["", "x = ", "edges = [", "[states]\n"],
    read_xmlbif: ["", "<BIF><NETWORK>"],
    read_xdsl: ["", "<smile><nodes>"],
}
CASES = [
    (reader, head, piece)
    for reader, pieces in OPENINGS.items()
    for head in HEADS[reader]
    for piece in pieces
]
NEGLIGIBLE = 2.0
"""Seconds of processor below which a time is not compared with another."""


def seconds(reader, text):
    content = text.encode() if reader in (read_xmlbif, read_xdsl) else text
    start = time.process_time()
    with suppress(PyromixError):
        reader(content)
    return time.process_time() - start


def assert_linear(reader, make, size):
    """Twice the size takes less than three times the time; a square takes four."""
    middle, long = make(size), make(2 * size)
    assert len(long) >= 1.9 * len(middle)
    time = seconds(reader, long)
    if time < NEGLIGIBLE:
        return
    half = seconds(reader, middle)
    for _ in range(2):  # another process may have had the machine
        if time < 3 * half:
            break
        time, half = min(time, seconds(reader, long)), min(half, seconds(reader, middle))
    assert time < max(NEGLIGIBLE, 3 * half), (half, time)


@pytest.mark.parametrize(("reader", "head", "piece"), CASES)
def test_whatever_is_repeated_is_read_or_refused_in_no_time(reader, head, piece):
    """A quarter of a MiB: what is quadratic takes minutes there."""
    assert seconds(reader, head + piece * (MIB // 4 // len(piece))) < 3


@pytest.mark.parametrize(("reader", "head", "piece"), CASES)
def test_twice_the_text_takes_twice_the_time(reader, head, piece):
    """Up to a quarter of a MiB; ``studies/linear_readers.py`` goes to four."""
    assert_linear(reader, lambda size: head + piece * int(size * MIB / len(piece)), 0.125)


@pytest.mark.parametrize("blank", [" ", "\t", "\n"])
def test_blanks_in_a_header_take_no_time(blank):
    head = "variable x { type discrete [ 2 ] { a, b }; } probability ( x"
    for tail in ("", " ) y { }", " | ) { }"):
        assert_linear(read_bif, lambda n, t=tail: head + blank * (n * MIB) + t, 1)


@pytest.mark.parametrize("reader", NODE)
def test_many_variables_are_read_in_linear_time(reader):
    def text(size):
        piece = NODE[reader]
        return "".join(piece.format(i) for i in range(int(size * MIB / len(piece))))

    assert_linear(reader, text, 0.5)


def test_many_edges_are_read_in_linear_time():
    def text(size):
        edges = ", ".join(f'"A{i} -> Y{i % 7}"' for i in range(int(size * MIB / 32)))
        spared = ", ".join(f'"A{i}"' for i in range(int(size * MIB / 32)))
        states = "".join(f"A{i} = [0, 1]\n" for i in range(int(size * MIB / 32)))
        return f"edges = [{edges}]\nuninfluenced = [{spared}]\n[states]\n{states}"

    assert_linear(read_toml, text, 0.5)


def test_a_network_of_many_variables_becomes_a_mixture_in_linear_time(tmp_path):
    def once(n):
        path = tmp_path / "net.bif"
        path.write_text("".join(NODE[read_bif].format(i) for i in range(n)))
        start = time.process_time()
        assert px.read(path).spec.n_variables == n
        return time.process_time() - start

    few, many = once(1000), min(once(4000), once(4000))
    assert many < max(NEGLIGIBLE, 8 * few)


# -- memory: sizes are worked out first --------------------------------------------------------


def peak(action):
    tracemalloc.start()
    try:
        action()
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


def refused(path, message):
    def action():
        with pytest.raises(FileError, match=message):
            px.read(path)

    return peak(action)


@cache
def zeros(n):
    """Gzip of so many zero bytes, made a MiB at a time."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        for _ in range(n // MIB):
            file.write(bytes(MIB))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".bif.gz", ".net.gz", ".xdsl.gz", ".bif"])
def test_gzip_that_unpacks_to_a_gib_is_refused_and_the_setting_named(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(zeros(1024 * MIB))
    assert refused(path, rf"at most 64 MiB of text.*{LIMIT_VARIABLE}=") < 300 * MIB


def test_a_bundle_that_unpacks_to_a_gib_is_refused(tmp_path):
    path = tmp_path / "net.pyromix"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(MANIFEST, "{}")
        with archive.open(TENSORS, "w") as file:
            for _ in range(1024):
                file.write(bytes(MIB))
    n_bytes = 1024 * MIB + 2
    message = rf"unpacks to at most {DEFAULT_LIMIT} MiB.*unpacks to {n_bytes:,}.*{LIMIT_VARIABLE}="
    assert refused(path, message) < 100 * MIB


def test_a_manifest_of_many_brackets_is_refused(tmp_path):
    path = tmp_path / "net.pyromix"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, b"[{}," + b"{}," * (11 * MIB) + b"{}]")
        archive.writestr(TENSORS, save_tensors({}))
    assert refused(path, f"{MANIFEST} of at most 32 MiB") < 100 * MIB


def many_parents(n):
    names = [f"P{i}" for i in range(n)]
    text = ""
    for name in names:
        text += f"variable {name} {{ type discrete [ 2 ] {{ a, b }}; }}\n"
        text += f"probability ( {name} ) {{ table .5, .5; }}\n"
    text += "variable Y { type discrete [ 2 ] { a, b }; }\n"
    return text + f"probability ( Y | {', '.join(names)} ) {{ default .5, .5; }}\n"


@pytest.mark.parametrize("n", [25, 34, 90])
def test_a_default_row_for_many_parents_is_refused_by_the_size_of_the_table(tmp_path, n):
    path = tmp_path / "net.bif"
    path.write_text(many_parents(n))
    assert refused(path, rf"'Y' with {n} parents, has {2 ** (n + 1):,} numbers") < 50 * MIB


def test_many_tables_that_fit_one_by_one_are_refused_together(tmp_path):
    text = many_parents(22)
    given = text[text.rindex("(") + 2 : text.rindex(")")].partition("|")[2]
    for i in range(8):
        text += f"variable Z{i} {{ type discrete [ 2 ] {{ a, b }}; }}\n"
        text += f"probability ( Z{i} |{given}) {{ default .5, .5; }}\n"
    (tmp_path / "net.bif").write_text(text)
    assert (
        refused(tmp_path / "net.bif", "BIF: expected tables of at most 256 MiB together") < 50 * MIB
    )


def test_a_source_of_many_states_is_refused_where_every_table_would_be_held_for_each(tmp_path):
    text = "".join(
        f"variable {name} {{ type discrete [ {many} ] "
        f"{{ {', '.join(f's{i}' for i in range(many))} }}; {more} }}\n"
        f"probability ( {name} ) {{ table {', '.join([f'{1 / many:g}'] * many)}; }}\n"
        for name, many, more in (
            ("U", 4000, "property roles = 'latents';"),
            ("Y", 20_000, ""),
        )
    )
    (tmp_path / "net.bif").write_text(text)
    assert refused(tmp_path / "net.bif", "the largest, of 'Y'") < 200 * MIB


def test_a_uai_file_announces_no_more_than_it_holds(tmp_path):
    path = tmp_path / "net.uai"
    for card in (10**9, 10**17):
        path.write_text(f"BAYES 1 {card} 1 1 0 {card} .5 .5")
        assert refused(path, "numbers for cards") < 10 * MIB


def test_n_sources_of_a_spec_has_a_limit():
    with pytest.raises(
        PyromixError, match=r"n_sources must be at most 10,000, found 1,000,000,000"
    ):
        read_toml('edges = ["A -> B"]\nn_sources = 1000000000')


def test_the_setting_lets_more_through(monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    with pytest.raises(FileError, match=f"{LIMIT_VARIABLE}=2 "):
        check_cells("BIF", {"Y": (2, 2**17)})
    monkeypatch.setenv(LIMIT_VARIABLE, "2")
    check_cells("BIF", {"Y": (2, 2**17)})


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "much", "9" * 5000, "²"])
def test_a_setting_that_is_no_size_is_refused(monkeypatch, text):
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(FileError, match=LIMIT_VARIABLE):
        file_limit()


def test_what_we_write_is_read_whatever_it_unpacks_to(tmp_path, monkeypatch):
    """A regular fit may unpack to much; nothing is written that would not be read here."""
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    px.write(mixture_with(), tmp_path / "m.pyromix")
    px.read(tmp_path / "m.pyromix")


# -- what Python itself raises -----------------------------------------------------------------

DEEP = 100_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", "x = " + "[" * DEEP),
        ("b.toml", "n_sources = " + "9" * 5000),
        ("c.toml", "a." * DEEP + "b = 1"),
        ("d.bif", "variable x { type discrete [ " + "9" * 5000 + " ] { a, b }; }"),
        ("e.uai", "BAYES " + "9" * 5000),
        ("f.xmlbif", "<a>" * DEEP + "</a>" * DEEP),
        ("g.xdsl", "<smile><nodes>" + "<cpt>" * DEEP),
        ("h.net", "net { x = " + "(" * DEEP),
    ],
)
def test_depth_and_long_numbers_are_named_errors_that_repeat_little(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PyromixError) as refusal:
        (px.formats.files.read_structure if name.endswith("toml") else px.read)(path)
    assert len(str(refusal.value)) < 1000 + len(str(path))


def tensor_file(**entry):
    header = json.dumps({"weights": entry}).encode()
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    "tensors",
    [
        tensor_file(dtype="F8_E8M0", shape=[0], data_offsets=[0, 0]),
        tensor_file(dtype="F99", shape=[0], data_offsets=[0, 0]),
        tensor_file(dtype="F64", shape=[0, 2**63], data_offsets=[0, 0]),
        tensor_file(dtype="F64", shape=[0, 2**62, 2**62], data_offsets=[0, 0]),
        tensor_file(dtype="F64", shape=[], data_offsets=[0, 0]),
    ],
)
@pytest.mark.parametrize(
    "manifest",
    [
        None,
        b'{"format": 1, "kind": "fit", "spec": ' + b"[" * DEEP,
        b'{"format": ' + b"9" * 5000 + b"}",
    ],
)
def test_damaged_members_of_a_bundle_are_named_errors(tmp_path, manifest, tensors):
    px.write(mixture_with(), tmp_path / "m.pyromix")
    with zipfile.ZipFile(tmp_path / "m.pyromix") as archive:
        manifest = manifest or archive.read(MANIFEST)
    with zipfile.ZipFile(tmp_path / "m.pyromix", "w") as archive:
        archive.writestr(MANIFEST, manifest)
        archive.writestr(TENSORS, tensors)
    for action in (px.read, px.load):
        with pytest.raises(FileError, match=r"m\.pyromix"):
            action(tmp_path / "m.pyromix")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_members_packed_otherwise_and_damaged_are_named_errors(tmp_path, method):
    path = tmp_path / "m.pyromix"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(MANIFEST, b"{}" * 100)
        archive.writestr(TENSORS, b"{}" * 100)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
        with pytest.raises(FileError, match=r"m\.pyromix"):
            px.read(path)


def test_a_value_is_shown_short():
    assert shown("abc") == "'abc'"
    assert shown("x" * 10**6) == f"'{'x' * 79}..."
    assert len(shown(["x"] * 10**5)) < 100


@pytest.mark.parametrize("ending", [".bif", ".toml", ".net", ".xdsl"])
def test_a_name_as_long_as_a_file_is_not_repeated_whole(tmp_path, ending):
    name = "n" * 100_000
    path = tmp_path / f"net{ending}"
    path.write_text(
        {
            ".bif": f"variable {name} {{ type; }}",
            ".toml": f'variables = ["A"]\nuninfluenced = ["{name}"]',
            ".net": f"node {name} {{ }}",
            ".xdsl": f'<smile><nodes><cpt id="{name}"/></nodes></smile>',
        }[ending]
    )
    with pytest.raises(PyromixError) as refusal:
        px.formats.files.read_structure(path)
    assert len(str(refusal.value)) < 2000 + len(str(path))
