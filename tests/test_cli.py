"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import pyromix as px
from pyromix.cli import main
from pyromix.cli.flags import in_flags
from pyromix.cli.progress import working


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A network, a table and a fit."""
    path = tmp_path_factory.mktemp("cli")
    states = dict.fromkeys(("A", "B", "C", "D"), ("no", "yes"))
    spec = px.MixtureSpec.from_parents(states, {"D": ["C"]}, 2)
    truth = px.random_mixture(spec, 1, separation=0.5)
    px.write(truth, path / "net.bif")
    px.simulate(truth, 3000, random_state=0).to_csv(path / "data.csv", index=False)
    return path


@pytest.fixture(scope="module")
def fitted(folder) -> Path:
    output = folder / "fit.pyromix"
    arguments = ["fit", folder / "data.csv", "--model", folder / "net.bif", "-o", output,
                 "--n-init", "5"]  # fmt: skip
    assert call(*arguments)[0] == 0
    return output


def call(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command in this process."""
    out, err = io.StringIO(), io.StringIO()
    stdout, stderr, sys.stdout, sys.stderr = sys.stdout, sys.stderr, out, err
    try:
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
    finally:
        sys.stdout, sys.stderr = stdout, stderr
    return int(caught.value.code or 0), out.getvalue(), err.getvalue()


def test_fit_prints_the_fit(folder):
    code, out, _ = call("fit", folder / "data.csv", "--model", folder / "net.bif", "--n-init", 3)
    assert code == 0
    assert "best of 4 starts (one from moments)" in out


def test_fit_takes_edges_and_adds_the_source(folder):
    edges = [x for e in ("U->A", "U->B", "U->C", "U->D", "C->D") for x in ("--edge", e)]
    code, out, _ = call("fit", folder / "data.csv", *edges, "--n-sources", 2, "--json")
    assert code == 0
    assert json.loads(out)["n_sources"] == 2


def test_fit_reads_standard_input(folder):
    command = [sys.executable, "-m", "pyromix.cli", "fit", "-", "--model",
               str(folder / "net.bif"), "--n-init", "2", "--json"]  # fmt: skip
    with open(folder / "data.csv", "rb") as table:
        result = subprocess.run(command, stdin=table, capture_output=True, check=False, timeout=200)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["n_rows"] == 3000


def test_do_prints_text_json_and_csv(fitted):
    fit = px.load(fitted)
    expected = fit.query("D", do={"C": "yes"}).values
    code, out, _ = call("do", fitted, "--query", "D", "--do", "C=yes")
    assert code == 0
    assert "P(D | do(C='yes'))" in out
    cells = json.loads(call("do", fitted, "--query", "D", "--do", "C=yes", "--json")[1])["cells"]
    assert [c["D"] for c in cells] == ["no", "yes"]
    assert [c["probability"] for c in cells] == pytest.approx(list(expected), abs=1e-9)
    table = pd.read_csv(
        io.StringIO(call("do", fitted, "--query", "D", "--do", "C=yes", "--format", "csv")[1])
    )
    assert list(table["probability"]) == pytest.approx(list(expected), abs=1e-9)


def test_do_answers_from_a_network_file(folder):
    mixture = px.read(folder / "net.bif")
    answer = px.query(mixture, "D", do={"C": "yes"}, evidence={"A": "no"}).values
    code, out, _ = call(
        "do", folder / "net.bif", "--query", "D", "--do", "C=yes", "--evidence", "A=no", "--json"
    )
    assert code == 0
    assert json.loads(out)["cells"][1]["probability"] == pytest.approx(answer[1], abs=1e-9)


def test_an_uncertified_answer_exits_with_two(folder):
    output = folder / "two.pyromix"
    edges = [x for e in ("U->A", "U->B", "A->B") for x in ("--edge", e)]
    assert call("fit", folder / "data.csv", *edges, "--n-sources", 2, "-o", output)[0] == 0
    code, out, err = call("do", output, "--query", "B", "--do", "A=yes")
    assert (code, out) == (2, "")
    assert "NotCertifiedError" in err
    assert call("do", output, "--query", "B", "--do", "A=yes", "--require", "none")[0] == 0


def test_a_fit_that_did_not_converge_exits_with_three(folder):
    arguments = ("fit", folder / "data.csv", "--model", folder / "net.bif", "--max-iter", 2)
    code, _, err = call(*arguments)
    assert code == 3
    assert "ConvergenceWarning" in err


def test_quiet_says_nothing_on_stderr(folder):
    arguments = ("fit", folder / "data.csv", "--model", folder / "net.bif", "--max-iter", 2, "-q")
    assert call(*arguments)[2] == ""


def test_convert_checks_by_reading_back(folder, tmp_path):
    target = tmp_path / "net.xdsl"
    assert call("convert", folder / "net.bif", target)[0] == 0
    before, after = px.read(folder / "net.bif"), px.read(target)
    for name in before.spec.variables:
        left = px.query(before, name).values
        assert px.query(after, name).values == pytest.approx(left, abs=1e-12)


def test_simulate_writes_csv_to_stdout_or_a_file(fitted, tmp_path):
    code, out, _ = call("simulate", fitted, "-n", 20, "--do", "C=yes")
    frame = pd.read_csv(io.StringIO(out))
    assert code == 0
    assert set(frame["C"]) == {"yes"}
    assert len(frame) == 20
    target = tmp_path / "sim.parquet"
    assert call("simulate", fitted, "-n", 20, "--include-latents", "-o", target)[0] == 0
    assert "U" in pd.read_parquet(target).columns


def test_simulated_rows_come_from_the_seed_that_is_given(fitted):
    one, same, other = (
        call("simulate", fitted, "-n", 40, "--random-state", seed)[1] for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["do", "{fit}", "--query", "Q"], "unknown variable 'Q'"),
        (["do", "{fit}", "--query", "D", "--do", "C"], "VARIABLE=STATE"),
        (["do", "{fit}", "--query", "D", "--do", "C=ye"], "did you mean 'yes'"),
        (["do", "{fit}", "--query", "D", "--do", "C=yes", "--do", "C=no"], "twice"),
        (["do", "{folder}/none.pyromix", "--query", "D"], "none.pyromix"),
        (["fit", "{folder}/none.csv", "--model", "{folder}/net.bif"], "none.csv"),
        (["fit", "{folder}/data.csv"], "--model"),
        (["fit", "{folder}/data.csv", "--edge", "A-B", "--n-sources", "2"], "A-B"),
        (["fit", "{folder}/data.csv", "--model", "{folder}/net.bif", "--n-sources", "0"], "0"),
        (["fit", "{folder}/data.csv", "--model", "{folder}/net.bif", "--method", "x"], "'x'"),
        (["fit", "{folder}/data.csv", "--model", "{folder}/net.bif", "--bogus"], "--bogus"),
        (["convert", "{folder}/net.bif", "{folder}/net.doc"], "doc"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_mistake_exits_with_one_and_says_which(folder, fitted, arguments, match):
    code, out, err = call(*(a.format(fit=fitted, folder=folder) for a in arguments))
    assert (code, out) == (1, "")
    assert match in err


def test_iid_fits_coins_to_a_table_of_units():
    path = px.datasets.read_card("thumbtacks").folder / "data.csv"
    code, out, _ = call("iid", path, "-k", 2, "--sample-weight", "count", "--json")
    assert code == 0
    assert json.loads(out)["log_likelihood"] == pytest.approx(-640.4808, abs=1e-3)


def test_normalised_weights_are_spoken_of_until_they_are_said_to_be_sampling_weights(tmp_path):
    path = tmp_path / "units.csv"
    frame = pd.DataFrame({"successes": [0, 1, 8, 9] * 10, "trials": 9, "w": 1 / 40})
    frame.to_csv(path, index=False)
    err = call("iid", path, "-k", 2, "--sample-weight", "w")[2]
    assert "1 as counts (--weights-are counts, which was taken)" in err
    assert "Pass --weights-are sampling" in err
    plain, said = (
        call("iid", path, "-k", 2, "--json", *flags)
        for flags in ((), ("--sample-weight", "w", "--weights-are", "sampling"))
    )
    assert said[2] == ""
    one, other = (json.loads(out)["log_likelihood"] for _, out, _ in (plain, said))
    assert other == pytest.approx(one)


@pytest.mark.parametrize("command", ["fit", "check", "select"])
def test_what_weights_are_is_said_to_every_command_that_takes_them(folder, tmp_path, command):
    frame = pd.read_csv(folder / "data.csv")
    frame.assign(w=1 / len(frame)).to_csv(tmp_path / "data.csv", index=False)
    common = (tmp_path / "data.csv", "--model", folder / "net.bif", "--n-sources", 1)
    told = call(command, *common, "--sample-weight", "w")
    asked = call(command, *common, "--sample-weight", "w", "--weights-are", "sampling")
    assert "--weights-are sampling" in told[2]
    assert "--weights-are" not in asked[2]
    code, _, err = call(command, *common, "--weights-are", "sampling")
    assert code == 1
    assert "pass --sample-weight ..., or --weights-are counts" in err


def test_too_few_flips_for_the_coins_exit_with_two(tmp_path):
    path = tmp_path / "units.csv"
    pd.DataFrame({"successes": [0, 1, 2, 1], "trials": 2}).to_csv(path, index=False)
    code, out, err = call("iid", path, "-k", 2)
    assert (code, out) == (2, "")
    assert "IdentificationError" in err


def test_help_exits_with_zero():
    code, out, _ = call("fit", "--help")
    assert code == 0
    assert "--n-sources" in out


def test_no_thread_count_is_changed(folder):
    before = torch.get_num_threads()
    call("do", folder / "net.bif", "--query", "D")
    assert torch.get_num_threads() == before


def test_check_says_what_can_be_learnt_before_a_fit(folder):
    edges = [x for e in ("U->A", "U->B", "U->C", "U->D", "C->D") for x in ("--edge", e)]
    code, out, _ = call("check", *edges, "--n-sources", "2")
    assert code == 0
    assert "IDENTIFIED" in out
    code, out, _ = call("check", folder / "data.csv", *edges, "--n-sources", "2..3", "--json")
    reports = json.loads(out)
    assert [r["n_sources"] for r in reports] == [2, 3]
    assert [r["verdict"] for r in reports] == ["identified", "not identified"]
    assert reports[0]["signal"] > reports[0]["noise_floor"]
    assert code == 2  # the last of them


def test_check_of_an_effect_that_is_not_identified_exits_with_two():
    edges = [x for e in ("U->X", "U->Y", "X->Y") for x in ("--edge", e)]
    code, out, _ = call("check", *edges, "--outcome", "Y", "--treatment", "X")
    assert code == 2
    assert out.splitlines()[0].split() == ["k", "signal", "/", "noise", "parameters", "/", "df",
                                           "verdict"]  # fmt: skip
    assert "P(Y | do(X)) with 2 sources: NOT IDENTIFIED" in out


def test_select_prints_the_table_and_json(folder):
    arguments = ["select", folder / "data.csv", "--model", folder / "net.bif", "--n-sources"]
    code, out, _ = call(*arguments, "1..2", "--n-init", 2)
    assert code == 0
    assert "chosen:" in out
    code, out, _ = call(*arguments, "1,2", "--n-init", 2, "--json")
    found = json.loads(out)
    assert found["best"] == 2
    assert [c["n_sources"] for c in found["candidates"]] == [1, 2]


def test_a_number_of_sources_that_is_none_is_a_usage_error(folder):
    code, _, err = call("select", folder / "data.csv", "--n-sources", "two")
    assert code == 1
    assert "2..5" in err


def test_report_prints_text_and_json_and_writes_a_page(folder, fitted, tmp_path):
    code, out, _ = call("report", fitted, "--no-sensitivity")
    assert code == 0
    assert "1. Verdict in figures" in out
    asked = ("--treatment", "C", "--outcome", "D", "--outcome-state", "no")
    code, out, _ = call("report", fitted, *asked, "--no-sensitivity", "--json")
    found = json.loads(out)
    expected = px.load(fitted).effect("C", "D", outcome_state="no")
    assert found["effect"]["do"]["difference"][0] == pytest.approx(float(expected.do))
    target = tmp_path / "report.html"
    code, out, err = call("report", fitted, "--no-sensitivity", "-o", target)
    assert (code, out) == (0, "")
    assert re.match(rf"{target}: (Setting|The|With)\b", err)
    assert target.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"),
                                              ("pdf", b"%PDF")])  # fmt: skip
def test_plot_writes_the_format_of_the_ending(fitted, tmp_path, ending, start):
    target = tmp_path / f"effect.{ending}"
    arguments = ("plot", fitted, "effect", "--treatment", "C", "--outcome", "D", "-o", target)
    code, out, err = call(*arguments, "--contrast", "yes", "--contrast", "no")
    assert (code, out) == (0, "")
    assert "Effect of C on D" in err
    assert target.read_bytes().startswith(start)
    assert json.loads(call(*arguments, "--json")[1])["kind"] == "effect"


def test_check_simulates_from_the_fit_and_says_what_comes_back(folder):
    arguments = ["check", folder / "data.csv", "--model", folder / "net.bif", "--simulate"]
    arguments += ["--n-simulations", 2, "--outcome", "D", "--treatment", "C"]
    code, out, _ = call(*arguments)
    assert code == 0
    assert "rehearsal: 2 tables of 3,000 rows" in out
    found = json.loads(call(*arguments, "--json")[1])[0]["rehearsal"]
    assert len(found["recovered"]) == 2
    assert found["asked"] in out


def test_an_effect_that_is_not_determined_is_not_plotted_and_exits_with_two(folder, tmp_path):
    output = tmp_path / "two.pyromix"
    edges = [x for e in ("U->A", "U->B", "A->B") for x in ("--edge", e)]
    assert call("fit", folder / "data.csv", *edges, "--n-sources", 2, "-o", output)[0] == 0
    target = tmp_path / "a.svg"
    code, _, err = call("plot", output, "effect", "--treatment", "A", "--outcome", "B",
                        "-o", target)  # fmt: skip
    assert code == 2
    assert "NotCertifiedError" in err
    assert not target.exists()


def test_a_wheel_turns_on_a_terminal_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        with working("looking"):
            pass
        assert ("looking" in stream.getvalue()) is shown


def test_a_warning_is_said_once(folder, tmp_path):
    frame = pd.read_csv(folder / "data.csv").assign(count=1)
    frame.to_csv(tmp_path / "data.csv", index=False)
    arguments = ("check", tmp_path / "data.csv", "--model", folder / "net.bif", "--n-sources")
    err = call(*arguments, "1..2")[2]
    assert err.count("column 'count' is not used") == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('pass require="local"', "pass --require local"),
        ("ask with n_sources=2 (identified)", "ask with --n-sources 2 (identified)"),
        ("pass sample_weight='count'", "pass --sample-weight count"),
        (
            "pass sample_weight=..., or weights_are='counts'",
            "pass --sample-weight ..., or --weights-are counts",
        ),
        ("P(Y | do(X='treated')), method=", "P(Y | do(X='treated')), method="),
        (
            "read them as missing (missing_values=['?', -9])",
            "read them as missing (--na '?' --na -9)",
        ),
        (
            "bin them (pandas.cut), make the column Categorical, or declare its states "
            "(state_names)",
            "bin them (--bins COLUMN=50,60), or declare its states (--states COLUMN=A,B)",
        ),
        (
            "interval: none, interval=False asked for none",
            "interval: none, --no-interval asked for none",
        ),
        (
            "more than 4,000: take fit.bootstrap()",
            "more than 4,000: take pyromix effect --bootstrap 500",
        ),
        ("convert it, e.g. data['x'].astype(float)", "convert it"),
        ("text: pass data['x'].astype(str), or", "text: convert the column, or"),
        ("n_sources must be at least 1", "--n-sources must be at least 1"),
        ("unknown variable 'n_init'; n_init", "unknown variable 'n_init'; --n-init"),
        (
            "P(Y | do(level='a'), method='b'); level=0.9",
            "P(Y | do(level='a'), method='b'); --level 0.9",
        ),
        ("must be named: contrast=('a', 'c')", "must be named: --contrast 'a' --contrast 'c'"),
        (
            "none: it is fit.refine(method=...) that has",
            "none: it is a refinement in Python that has",
        ),
    ],
)
def test_advice_names_flags(said, shown):
    assert in_flags(said) == shown


@pytest.fixture(scope="module")
def equals(tmp_path_factory) -> Path:
    """A network of names and states that hold the sign between them."""
    states = {"a=b": ("c=d", "d"), "A": ("x=1", "x=2"), "A=x": ("1", "3"), "Y": ("no", "yes")}
    spec = px.MixtureSpec.from_parents(states, {"Y": ["a=b", "A", "A=x"]}, 2)
    path = tmp_path_factory.mktemp("equals") / "net.pyromix"
    px.write(px.random_mixture(spec, 1), path)
    return path


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("a=b=d", {"a=b": "d"}),
        ("a=b=c=d", {"a=b": "c=d"}),
        ("A=x=2", {"A": "x=2"}),
        ("A=x=3", {"A=x": "3"}),
        ("U=1", {"U": 1}),
    ],
)
def test_names_and_states_that_hold_an_equals_sign_are_asked(equals, text, setting):
    expected = px.query(px.read(equals), "Y", evidence=setting).values
    code, out, err = call("do", equals, "--query", "Y", "--evidence", text, "--json")
    assert code == 0, err
    assert [c["probability"] for c in json.loads(out)["cells"]] == pytest.approx(list(expected))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=x=1", "'A=x=1' can be read as 'A' = 'x=1' and as 'A=x' = '1'"),
        ("a=b=e", "unknown state 'e' of 'a=b'"),
        ("b=c=d", "unknown variable 'b'"),
    ],
)
def test_an_equals_sign_too_many_is_told(equals, text, said):
    code, _, err = call("do", equals, "--query", "Y", "--do", text)
    assert code == 1
    assert said in err


def test_a_report_at_a_shell_advises_no_call(fitted, tmp_path):
    assert call("report", fitted, "--no-sensitivity", "-o", tmp_path / "r.html")[0] == 0
    page = (tmp_path / "r.html").read_text()
    assert "pyromix select DATA --n-sources 1..4 puts numbers of sources side by side" in page
    assert not re.search(r"\bpx\.|\bfit\.\w+\(|\bn_init\b", page)


# -- tables as strangers keep them -----------------------------------------------------------------

STRANGERS = Path(__file__).parent / "data" / "strangers"
NO_PYTHON = re.compile(r"pandas|astype|state_names|missing_values|sample_weight|data\[|\w\(\)")


def stranger(command, name, *arguments):
    """A command on a stranger's table, without edges."""
    if command == "select":
        return call("select", STRANGERS / name, "--n-sources", 1, *arguments)
    edges = [x for end in "ABCD" for x in ("--edge", f"U->{end}")]
    quick = ("--prior", "none", "--n-init", 1) if command == "fit" else ()
    return call(command, STRANGERS / name, *edges, "--n-sources", 2, *quick, *arguments)


@pytest.mark.parametrize("command", ["fit", "check", "select"])
@pytest.mark.parametrize(("name", "mark"), [("qmark.csv", "?"), ("minus9.csv", "-9")])
def test_a_mark_of_a_missing_cell_is_said_and_taken_out_by_its_flag(command, name, mark):
    err = stranger(command, name)[2]
    assert "looks like a code for a missing cell" in err
    assert f"--na {mark}" in err.replace("'", "")
    assert not NO_PYTHON.search(err)
    assert "looks like a code" not in stranger(command, name, "--na", mark)[2]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("semicolon.csv", ("--sep", ";")),
        ("decimalcomma.csv", ("--sep", ";", "--decimal", ",")),
        ("plain.csv", ("--encoding", "cp1252")),
    ],
)
def test_how_a_file_is_written_can_be_told(name, flags):
    code, _, err = stranger("select", name, *flags)
    assert code == 0
    assert "was read with" not in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--sep", ";;"), "expected one sign between cells, found ';;'"),
        (("--encoding", "latin-99"), "an encoding that Python knows, found 'latin-99'"),
        (("--decimal", "x"), "'.' or ',' before decimals, found 'x'"),
    ],
)
def test_a_dialect_that_there_is_not_is_refused(flags, said):
    code, _, err = stranger("select", "plain.csv", *flags)
    assert code == 1
    assert said in err


def test_the_flags_of_texts_are_refused_for_other_files(tmp_path):
    pd.read_csv(STRANGERS / "plain.csv").to_parquet(tmp_path / "d.parquet")
    code, _, err = call("select", tmp_path / "d.parquet", "--sep", ";")
    assert code == 1
    assert "are those of text files" in err


def test_columns_that_the_edges_do_not_name_are_said(folder):
    err = call("check", folder / "data.csv", "--edge", "U->A", "--edge", "U->B")[2]
    assert "columns 'C', 'D' of the table are not in the model, and not used" in err


def test_units_of_coins_without_numbers_are_left_out_by_the_flag(tmp_path):
    (tmp_path / "units.csv").write_text("successes,trials\n1,3\n-9,3\n2,3\n0,3\n3,3\n")
    code, _, err = call("iid", tmp_path / "units.csv", "-k", 1, "--na", "-9")
    assert code == 0
    assert "1 of 5 units lack successes or trials" in err


@pytest.mark.parametrize(
    "cells",
    [["0.5", "1.5", "2.5"], ["a", "b", "c!"], ["2020-01-01", "2020-01-02", "x"]],
)
def test_no_sentence_of_a_command_is_a_call_in_python(folder, tmp_path, cells):
    frame = pd.read_csv(folder / "data.csv", dtype=str)
    frame["A"] = [cells[i % 3] for i in range(len(frame))]
    frame.to_csv(tmp_path / "d.csv", index=False)
    for command in ("fit", "check", "select"):
        code, _, err = call(
            command, tmp_path / "d.csv", "--model", folder / "net.bif", "--n-sources", 2
        )
        assert code == 1
        assert not NO_PYTHON.search(err), err
