"""Damaged files of every kind are read, or refused by a named error, in little time.

``python tests/studies/fuzz_files.py 100000`` looks at more of them.
"""

from __future__ import annotations

import warnings

from fuzzing import LONGEST, Seed, cases, run, seeds

import pyromix as px

CASES = 2000


def test_damaged_files_are_read_or_refused_by_name(tmp_path):
    outcomes = run(tmp_path, CASES)
    assert not outcomes.failures, "\n\n".join(outcomes.failures[:10])
    assert outcomes.slowest[0] < LONGEST
    # Enough of them are still read, and enough are not: the damage is neither nothing nor noise.
    read = outcomes.found["read"] / outcomes.found.total()
    assert 0.05 < read < 0.6
    assert {"FileError", "SpecError", "DataError"} <= outcomes.found.keys()


def test_the_seeds_are_read_and_cover_every_kind(tmp_path):
    found = seeds(tmp_path)
    for seed in found:
        # Tables of strangers have states of their own: they are refused by name.
        strange = seed.name.endswith(".csv") and seed.name != "t.csv"
        if strange or seed.name in ("damaged.arrow", "dynamic.xdsl"):
            continue
        (tmp_path / seed.name).write_bytes(seed.content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", px.PyromixWarning)
            for action in seed.actions:
                action(tmp_path / seed.name)
    endings = {seed.name.partition(".")[2] for seed in found}
    assert endings >= {
        *("toml", "bif", "bif.gz", "xmlbif", "xdsl", "net", "uai", "pyromix", "xml", "bifxml"),
        *("csv", "tsv", "csv.gz", "csv.bz2", "csv.xz", "csv.zip", "parquet", "arrow", "feather"),
    }


def test_a_number_always_gives_the_same_damage():
    found = [Seed("a.csv", b"A,B\n1,2\n", ()), Seed("b.bif", b"network x { }", ())]
    assert [*cases(found, 50)] == [*cases(found, 50)]
    assert [*cases(found, 50)][20:] == [*cases(found, 30, first=20)]
