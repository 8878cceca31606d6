"""The likely mistakes of a first user, command by command: the code, one paragraph, nothing left.

Every message says what was found and what to try; there is no traceback, and no half-written file.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

import pyromix as px
from pyromix.cli import main


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command in this process."""
    out, err = io.StringIO(), io.StringIO()
    stdout, stderr, sys.stdout, sys.stderr = sys.stdout, sys.stderr, out, err
    try:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
    finally:
        sys.stdout, sys.stderr = stdout, stderr
    return int(caught.value.code or 0), out.getvalue(), err.getvalue()


PYTHON = re.compile(
    r"pandas|numpy|torch|\bpx\.|astype|state_names|missing_values|sample_weight|weights_are"
    r"|\bdata\[|\w\(\)|\b[a-z_]+=(?!STATE)|\bn_[a-z]+\b|random_state"
)
"""What a person at a shell has no use for: calls, keywords and libraries of Python."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A network, good and bad tables, fits."""
    path = tmp_path_factory.mktemp("mistakes")
    states = {"X": ("control", "treated"), "Y": ("no", "yes"), "A": ("low", "high"),
              "B": ("low", "high")}  # fmt: skip
    spec = px.MixtureSpec.from_parents(states, {"Y": ["X"]}, 2)
    truth = px.random_mixture(spec, 1, separation=0.5)
    frame = px.simulate(truth, 600, random_state=0).astype(str)
    px.write(truth, path / "net.bif")
    frame.to_csv(path / "data.csv", index=False)
    px.fit(spec, frame, n_init=2, prior=None).save(path / "fit.pyromix")
    px.fit(spec, frame, n_init=2, prior=None, method="em").save(
        path / "bare.pyromix", include_data=False
    )
    (path / "empty.csv").write_text("")
    (path / "header.csv").write_text("X,Y,A,B\n")
    (path / "binary.csv").write_bytes(bytes(range(256)) * 4)
    (path / "ragged.csv").write_text("X,Y,A,B\ncontrol,no,low,low\ncontrol,no,low,low,high\n")
    (path / "broken.pyromix").write_bytes(b"not a bundle")
    (path / "notes.md").write_text("hello")
    (path / "broken.bif").write_text("network unknown {")
    (path / "cycle.toml").write_text('edges = ["X -> Y", "Y -> X"]\n')
    text = (path / "data.csv").read_text()
    (path / "twice.csv").write_text(text.replace("X,Y,A,B", "X,Y,A,A", 1))
    frame.assign(Y=[f"{i / 7:.4f}" for i in range(600)]).to_csv(path / "float.csv", index=False)
    frame.assign(Y="yes").to_csv(path / "constant.csv", index=False)
    frame.assign(Y=frame["Y"].where(frame.index % 5 > 0, "Yes ")).to_csv(
        path / "typo.csv", index=False
    )
    frame.assign(U=1).to_csv(path / "source.csv", index=False)
    holes = frame.copy()
    holes.loc[:9, "A"] = None
    holes.to_csv(path / "holes.csv", index=False)
    frame.assign(w=-1.0).to_csv(path / "negative.csv", index=False)
    frame.assign(w=[None] + [1.0] * 599).to_csv(path / "nan.csv", index=False)
    frame.drop(columns="A").to_csv(path / "narrow.csv", index=False)
    pd.DataFrame({"successes": [1, 2, 5], "trials": [4, 4, 4]}).to_csv(
        path / "units.csv", index=False
    )
    pd.DataFrame({"successes": ["a", "b"], "trials": [4, 4]}).to_csv(
        path / "letters.csv", index=False
    )
    return path


TABLE = [
    # (arguments after DATA, a piece of the message); DATA itself is wrong in the first ones
    ("none.csv --model net.bif", "there is no such file"),
    ("notes.md --model net.bif", "expected a path that ends in one of"),
    ("empty.csv --model net.bif", "header line"),
    ("header.csv --model net.bif", "expected a table with rows"),
    ("binary.csv --model net.bif", "binary.csv"),
    ("ragged.csv --model net.bif", "ragged.csv"),
    ("twice.csv --model net.bif", "distinct"),
    ("narrow.csv --model net.bif", "missing are 'A'"),
    ("typo.csv --model net.bif", "did you mean 'yes'"),
    ("float.csv --model net.bif", "'Y'"),
    ("source.csv --model net.bif", "'U' is unobserved"),
    ("constant.csv --edge X->Y --edge A->Y --n-sources 2", "'Y'"),
    ("holes.csv --model net.bif --missing error", "--missing mar"),
    ("data.csv --model net.bif --missing skip", "missing must be one of"),
    ("data.csv --model net.bif --sample-weight w", "'w'"),
    ("negative.csv --model net.bif --sample-weight w", "negative"),
    ("nan.csv --model net.bif --sample-weight w", "1 NaN weights"),
    ("data.csv --model none.bif", "none.bif"),
    ("data.csv --model net.doc", "net.doc"),
    ("data.csv --model broken.bif", "broken.bif"),
    ("data.csv --model cycle.toml --n-sources 2", "cycle"),
    ("data.csv --edge X->Y --edge Y->X --n-sources 2", "cycle"),
    ("data.csv --edge X-Y --n-sources 2", "an edge reads 'A -> B'"),
    ("data.csv --edge X->Z --n-sources 2", "missing are 'Z'"),
    ("data.csv --edge X->Y --model net.bif", "either --model FILE or --edge"),
    ("data.csv --model net.bif --n-sources 0", "0"),
    ("data.csv --model net.bif --n-sources abc", "--n-sources"),
    ("data.csv --model net.bif --bogus", "--bogus"),
]

FIT = [
    ("data.csv", "either --model FILE or --edge"),
    ("data.csv --model net.bif --method magic", "method must be one of"),
    ("data.csv --model net.bif --prior much", "--prior expects"),
    ("data.csv --model net.bif --n-init -1", "--n-init must be"),
    ("data.csv --model net.bif -o fit.csv", "--output must end in .pyromix"),
    ("data.csv --model net.bif -o none/fit.pyromix", "there is no folder"),
    ("data.csv --model net.bif --device tpu9", "tpu9"),
]

CHECK = [
    ("", "either --model FILE or --edge"),
    ("--edge X->Y --treatment X", "outcome"),
    ("data.csv --model net.bif --outcome Q", "unknown variable 'Q'"),
    ("data.csv --model net.bif --outcome Y --treatment y", "did you mean 'Y'"),
    ("data.csv --model net.bif --outcome Y --treatment Y", "Y"),
    ("data.csv --model net.bif --n-sources 5..2", "expected a number, a range"),
    ("--model net.bif --simulate", "--simulate fits a table first"),
    ("data.csv --model net.bif --simulate --n-simulations 0", "--n-simulations must be"),
    ("--model net.bif --n-sources 1..1000000000000", "at most 100 numbers"),
]

ASK = [
    # (arguments, a piece of the message) for every command that reads a fit
    ("none.pyromix {rest}", "no such file"),
    ("broken.pyromix {rest}", "broken.pyromix"),
    ("data.csv {rest}", "data.csv"),
    ("fit.pyromix {rest} --bogus", "--bogus"),
]

DO = [
    ("fit.pyromix", "--query"),
    ("fit.pyromix --query Q", "unknown variable 'Q'"),
    ("fit.pyromix --query y", "did you mean 'Y'"),
    ("fit.pyromix --query Y --do X", "expects VARIABLE=STATE"),
    ("fit.pyromix --query Y --do X=treatd", "did you mean 'treated'"),
    ("fit.pyromix --query Y --do Z=1", "unknown variable 'Z'"),
    ("fit.pyromix --query Y --do X=treated --do X=control", "twice"),
    ("fit.pyromix --query Y --do Y=yes", "stand in both"),
    ("fit.pyromix --query Y --do X=treated --evidence X=treated", "stand in both"),
    ("fit.pyromix --query Y --evidence A=hihg", "did you mean 'high'"),
    ("fit.pyromix --query Y --query Y", "more than once"),
    ("fit.pyromix --query Y --require certain", "require must be one of"),
    ("fit.pyromix --query Y --engine gpu", "gpu"),
    ("fit.pyromix --query Y --format yaml", "yaml"),
]

REPORT = [
    ("net.bif", "expected a fit, found a network"),
    ("fit.pyromix -o report.docx", "--output must end in"),
    ("fit.pyromix -o none/report.html", "there is no folder"),
    ("fit.pyromix --treatment X", "needs a treatment and an outcome"),
    ("fit.pyromix --treatment Q --outcome Y", "unknown variable 'Q'"),
    ("fit.pyromix --treatment X --outcome X", "must differ"),
    ("fit.pyromix --contrast treated --contrast control", "need --treatment and --outcome"),
    ("fit.pyromix --treatment X --outcome Y --contrast treated", "given twice"),
    ("fit.pyromix --treatment X --outcome Y --contrast treatd --contrast control",
     "did you mean 'treated'"),
    ("fit.pyromix --treatment X --outcome Y --outcome-state yess", "did you mean 'yes'"),
]  # fmt: skip

PLOT = [
    ("fit.pyromix network", "--output"),
    ("fit.pyromix", "KIND"),
    ("fit.pyromix netwrok -o a.svg", "did you mean 'network'"),
    ("net.bif network -o a.svg", "expected a fit, found a network"),
    ("fit.pyromix network -o a.gif", "--output must end in"),
    ("fit.pyromix network -o a", "--output must end in"),
    ("fit.pyromix network -o none/a.svg", "there is no folder"),
    ("fit.pyromix effect -o a.svg", "needs a treatment and an outcome"),
    ("fit.pyromix effect --treatment X --outcome Q -o a.svg", "unknown variable 'Q'"),
    ("bare.pyromix residuals -o a.svg", "holds no table"),
    ("bare.pyromix responsibilities -o a.svg", "holds no table"),
    ("bare.pyromix spectrum -o a.svg", "neither a moment stage nor a table"),
]

SIMULATE = [
    ("fit.pyromix -n 0", "n"),
    ("fit.pyromix -n many", "--n-samples"),
    ("fit.pyromix --do X=on", "unknown state 'on'"),
    ("fit.pyromix --do Q=1", "unknown variable 'Q'"),
    ("fit.pyromix -o sim.xlsx", "--output must end in"),
    ("fit.pyromix -o none/sim.csv", "there is no folder"),
]

CONVERT = [
    ("none.bif out.xdsl", "none.bif"),
    ("net.bif out.doc", "out.doc"),
    ("net.bif none/out.xdsl", "none"),
    ("broken.bif out.xdsl", "broken.bif"),
    ("net.bif", "WRITE"),
]

IID = [
    ("none.csv -k 2", "there is no such file"),
    ("units.csv", "--n-sources"),
    ("units.csv -k 0", "0"),
    ("units.csv -k two", "--n-sources"),
    ("units.csv -k 2 --successes x", "missing are 'x'"),
    ("letters.csv -k 2", "successes"),
    ("units.csv -k 2 --sample-weight w", "missing are 'w'"),
]

REST = {"do": "--query Y", "simulate": "-n 5", "report": "--no-sensitivity",
        "plot": "network -o a.svg"}  # fmt: skip

CASES = [
    *(("fit", *case) for case in (*TABLE, *FIT)),
    *(("check", *case) for case in (*TABLE, *CHECK)),
    *(("select", line.replace("--n-sources 2", "--n-sources 1..2"), said) for line, said in TABLE),
    *((name, line.format(rest=rest), said) for name, rest in REST.items() for line, said in ASK),
    *(("do", *case) for case in DO),
    *(("report", *case) for case in REPORT),
    *(("plot", *case) for case in PLOT),
    *(("simulate", *case) for case in SIMULATE),
    *(("convert", *case) for case in CONVERT),
    *(("iid", *case) for case in IID),
]


@pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")
@pytest.mark.parametrize(("command", "line", "said"), CASES, ids=lambda x: x.replace(" ", "_"))
def test_a_mistake_is_named_in_one_paragraph_and_leaves_nothing(
    folder, monkeypatch, command, line, said
):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    code, out, err = call(command, *line.split())
    assert (code, out) == (1, ""), err
    assert said in err or said in err.upper()  # how a missing argument is spelt, typer decides
    assert "Traceback" not in err
    assert not PYTHON.search(err), err
    message = err.strip().split("\n\n")
    assert len(message) == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
