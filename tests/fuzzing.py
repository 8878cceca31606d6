"""Valid files of every kind, damaged at random: what the fuzzer of files is made of."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import re
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

import pyromix as px
from pyromix.data.reading import read_frame
from pyromix.formats.bundle import MANIFEST, TENSORS
from pyromix.formats.files import read_structure

LONGEST = 5.0
"""Seconds that no file may take."""

LONGEST_MESSAGE = 2000
"""Characters: a message never echoes a file."""

STRANGERS = Path(__file__).parent / "data" / "strangers"

SPEC = px.MixtureSpec.from_parents(
    {"A": ("no", "yes"), "B": ("lo", "mid", "hi"), "C": ("a b", "c"), "D": ("x", "y")},
    {"B": ["A"], "C": ["B", "A"]},
    2,
    roles={"exposures": ["A"]},
)

TOML = """edges = ["Z -> X", "X -> Y -> W", "Z -> Y"]
latent = "U"
n_sources = 2
treatment = "X"
outcome = "Y"
uninfluenced = ["Z"]
[states]
X = ["control", "treated"]
[roles]
marked = ["W"]
"""

TOKENS = [
    *(b"{", b"}", b"(", b")", b"[", b"]", b"<", b">", b'"', b"'", b";", b",", b"|", b"=", b"/*"),
    *(b"*/", b"//", b"#", b"%", b"\n", b"\0", b"\xff", b"\xe9", b"&lt;", b"&", b"<!--", b"-->"),
    *(b"table", b"default", b"type discrete", b"property roles = 'latents'", b"node", b"states"),
    *(b"network x {", b"variable U", b"latents", b"HR_roles", b"potential", b"BAYES", b"MARKOV"),
    *(b"nan", b"inf", b"-1", b"0", b"1", b"2", b"3", b"1e400", b"999999999", b"null", b"true"),
    *(b"9" * 20, b"9" * 5000, b"[" * 2000, b"{" * 2000, b"<a>" * 2000, b"[]", b"{}", b'""', b"1.5"),
    *(b"F64", b"I8", b"BOOL", b"F8_E4M3", b"\xef\xbb\xbf", b"\x1f\x8b", b"PK\x03\x04", b"-0.5"),
]

VALUES = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        99,
        10**20,
        0.5,
        -0.5,
        1e308,
        "",
        "x",
        "no",
        "A",
        "U",
        [],
        {},
    ),
    *([0], ["A"], [[0]], [1, 2], {"a": 1}, [None], "float:nan", "float:inf", "float:x", [[["A"]]]),
]


@dataclass(frozen=True)
class Seed:
    """A valid file.

    Attributes:
        name: of the file.
        content: of the file.
        actions: what reads it.
        beside: further files that belong to it.
    """

    name: str
    content: bytes
    actions: tuple[Callable[[Path], object], ...]
    beside: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Outcomes:
    """What became of the cases.

    Attributes:
        found: how often each name of an error, or ``read``.
        failures: what ended otherwise, or took too long.
        slowest: seconds, and the case.
    """

    found: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")


def table_columns(path: Path) -> object:
    """Read a table, and count its rows for the model."""
    read_frame(path)
    return px.Counts.from_frame(path, SPEC)


NETWORKS = (px.read, read_structure)
TABLES = (table_columns,)


def seeds(folder: Path) -> list[Seed]:
    """Valid files of every kind, made in a folder."""
    found = [Seed("spec.toml", TOML.encode(), (read_structure,))]
    mixture = px.random_mixture(SPEC, 2)
    for ending in (".bif", ".bif.gz", ".xmlbif", ".xdsl", ".net", ".uai", ".pyromix"):
        path = folder / f"net{ending}"
        px.write(mixture, path)
        names = folder / f"net{ending}.names.json"
        beside = {names.name: names.read_bytes()} if names.exists() else {}
        found.append(Seed(path.name, path.read_bytes(), NETWORKS, beside))
    for path in sorted(STRANGERS.iterdir()):
        actions = TABLES if path.suffix in (".arrow", ".csv") else NETWORKS
        found.append(Seed(path.name, path.read_bytes(), actions))
    frame = table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        fit = px.fit(SPEC, frame, n_init=2, max_iter=20, prior=1.0, random_state=0)
        moments = px.fit_product(three_views(), 2, method="moments", prior=None, random_state=0)
        drawn = fit.refine(method="gibbs", num_samples=4, warmup_steps=0)
    for name, one in (("fit", fit), ("moments", moments), ("drawn", drawn)):
        one.save(folder / f"{name}.pyromix")
        content = (folder / f"{name}.pyromix").read_bytes()
        found.append(Seed(f"{name}.pyromix", content, (px.load,)))
    text = frame.to_csv(index=False)
    found += [
        Seed("t.csv", text.encode(), TABLES),
        Seed("t.tsv", text.replace(",", "\t").encode(), TABLES),
        Seed("t.csv.gz", gzip.compress(text.encode(), mtime=0), TABLES),
        Seed("t.csv.bz2", bz2.compress(text.encode()), TABLES),
        Seed("t.csv.xz", lzma.compress(text.encode()), TABLES),
        Seed("t.csv.zip", zipped({"t.csv": text.encode()}), TABLES),
    ]
    frame.astype("category").to_parquet(folder / "t.parquet")
    frame.to_parquet(folder / "u.parquet")
    frame.astype("category").to_feather(folder / "t.arrow")
    frame.to_feather(folder / "u.feather", compression="zstd")
    for name in ("t.parquet", "u.parquet", "t.arrow", "u.feather"):
        found.append(Seed(name, (folder / name).read_bytes(), TABLES))
    return found


def table() -> pd.DataFrame:
    """Rows of the model's variables, with a gap."""
    rng = np.random.default_rng(0)
    columns = {
        name: rng.choice(states, 80)
        for name, states in zip(SPEC.variables, SPEC.states, strict=True)
    }
    frame = pd.DataFrame(columns).astype(object)
    frame.iloc[3, 1] = None
    return frame


def three_views() -> pd.DataFrame:
    """Rows of three variables that show two sources."""
    rng = np.random.default_rng(0)
    source = rng.random((2000, 1)) < 0.5
    cells = rng.random((2000, 3)) < np.where(source, 0.1, 0.9)
    return pd.DataFrame(cells.astype(int), columns=list("EFG"))


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def damaged(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """A content with one to four changes.

    Args:
        rng: draws them.
        content: valid.
        other: another valid file, of which a piece may be put in.
    """
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((0, 1, 2, 8, 40, 400)))
        start = rng.randrange(len(other) + 1)
        piece = rng.choice(
            (
                b"",
                rng.choice(TOKENS),
                rng.choice(TOKENS),
                rng.randbytes(rng.choice((1, 4, 16))),
                content[at:end] * 2,
                other[start : start + rng.choice((4, 40, 400))],
            )
        )
        kind = rng.randrange(8)
        if kind == 0:
            content = content[:at]
        elif kind == 1 and at < len(content):
            content = (
                content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
            )
        elif kind in (3, 4, 5) and at < len(content) and chr(content[at]).isalnum():
            letters = b"0123456789" if chr(content[at]).isdigit() else b"abnoABXY_"
            content = content[:at] + bytes([rng.choice(letters)]) + content[at + 1 :]
        elif kind == 2 and (numbers := [*re.finditer(rb"\d+", content)]):
            one = rng.choice(numbers)
            content = content[: one.start()] + rng.choice(TOKENS) + content[one.end() :]
        else:
            content = content[:at] + piece + content[end:]
    return content


def other_value(rng: random.Random, fields: object) -> object:
    """JSON in which one value, anywhere, has become another or has gone."""
    if isinstance(fields, dict) and fields and rng.random() < 0.95:
        # What lies deep is looked at last, and most of it lies there.
        deep = [name for name, value in fields.items() if isinstance(value, dict | list) and value]
        name = rng.choice(deep if deep and rng.random() < 0.7 else [*fields])
        if rng.random() < 0.1:
            return {key: value for key, value in fields.items() if key != name}
        return {**fields, name: other_value(rng, fields[name])}
    if isinstance(fields, list) and fields and rng.random() < 0.8:
        at = rng.randrange(len(fields))
        return [*fields[:at], other_value(rng, fields[at]), *fields[at + 1 :]]
    return rng.choice(VALUES)


def damaged_inside(rng: random.Random, seed: Seed, other: bytes) -> bytes:
    """A file whose container is whole and whose content is damaged."""
    change = partial(damaged, rng, other=other)
    if seed.name.endswith(".gz"):
        return gzip.compress(change(gzip.decompress(seed.content)), mtime=0)
    if seed.name.endswith(".bz2"):
        return bz2.compress(change(bz2.decompress(seed.content)))
    if seed.name.endswith(".xz"):
        return lzma.compress(change(lzma.decompress(seed.content)))
    if seed.name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(seed.content)) as archive:
            [name] = archive.namelist()
            return zipped({name: change(archive.read(name))})
    if seed.name.endswith(".pyromix"):
        with zipfile.ZipFile(io.BytesIO(seed.content)) as archive:
            members = {name: archive.read(name) for name in (MANIFEST, TENSORS)}
        if rng.random() < 0.7:
            fields = other_value(rng, json.loads(members[MANIFEST]))
            members[MANIFEST] = json.dumps(fields).encode()
        else:
            name = rng.choice((MANIFEST, TENSORS))
            members[name] = change(members[name])
        return zipped(members)
    return change(seed.content)


def cases(all_seeds: list[Seed], n: int, first: int = 0) -> Iterator[tuple[int, Seed, bytes]]:
    """So many damaged files by number; the same number always gives the same file."""
    for number in range(first, first + n):
        rng = random.Random(number)
        seed = all_seeds[number % len(all_seeds)]
        other = rng.choice(all_seeds).content
        inside = rng.random() < 0.6
        yield (
            number,
            seed,
            (damaged_inside(rng, seed, other) if inside else damaged(rng, seed.content, other)),
        )


def run(folder: Path, n: int, first: int = 0) -> Outcomes:
    """Read so many damaged files; whatever is no PyromixError, or takes too long, is a failure."""
    outcomes = Outcomes()
    all_seeds = seeds(folder)
    place = folder / "damaged"
    place.mkdir(exist_ok=True)
    for number, seed, content in cases(all_seeds, n, first):
        path = place / seed.name
        path.write_bytes(content)
        for name, beside in seed.beside.items():
            (place / name).write_bytes(beside)
        for action in seed.actions:
            case = f"case {number}, {seed.name}, {action.__name__}"
            start = time.perf_counter()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    warnings.simplefilter("ignore", px.PyromixWarning)
                    action(path)
                outcomes.found["read"] += 1
            except px.PyromixError as error:
                outcomes.found[type(error).__name__] += 1
                # What a message says of a table's cells is looked at elsewhere.
                if len(str(error)) > LONGEST_MESSAGE:
                    outcomes.failures.append(f"{case}: a message of {len(str(error)):,} characters")
            except Exception:  # the one place that must see everything
                outcomes.failures.append(f"{case}: {traceback.format_exc()}")
            took = time.perf_counter() - start
            outcomes.slowest = max(outcomes.slowest, (took, case))
            if took > LONGEST:
                outcomes.failures.append(f"{case}: {took:.1f} seconds")
    return outcomes
