"""Standard streams that are full, closed or left by their reader, and Ctrl-C: on every command."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

import pyromix as px
from pyromix import __main__ as entry
from pyromix.cli import app, main
from pyromix.cli.streams import standard_input
from pyromix.errors import FileError
from pyromix.report.document import Report
from pyromix.report.parts import Letter

COMMANDS = {
    "demo": "demo",
    "check": "check --edge U->A --edge U->B --edge U->C --edge U->D",
    "fit": "fit data.csv --model net.bif --prior none --n-init 1 --method em -q",
    "effect": "effect fit.pyromix --treatment C --outcome D --require none --quiet",
    "graph": "graph data.csv --model net.bif -k 1 -q",
    "bounds": "bounds fit.pyromix --treatment C --outcome D --n-starts 1",
    "lca": "lca data.csv -k 1 -q",
    "do": "do net.bif --query D --do C=yes",
    "select": "select data.csv --n-sources 1 --n-init 1 --n-folds 2 -q",
    "report": "report fit.pyromix --no-sensitivity",
    "plot": "plot fit.pyromix network --json -o n.svg",
    "simulate": "simulate net.bif -n 5",
    "convert": "convert net.bif n.xdsl",
    "iid": "iid units.csv -k 1 -q",
}
"""One line for every command; each prints."""

WRITERS = {
    "fit": f"{COMMANDS['fit']} -o new.pyromix",
    "report": f"{COMMANDS['report']} -o new.html",
    "plot": "plot fit.pyromix network -o new.svg",
    "simulate": "simulate net.bif -n 5 -o new.csv",
    "simulate parquet": "simulate net.bif -n 5 -o new.parquet",
    "convert": "convert net.bif new.xdsl",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A network, two tables and a fit."""
    path = tmp_path_factory.mktemp("streams")
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCD", ("no", "yes")), {"D": ["C"]}, 2)
    truth = px.random_mixture(spec, 1, separation=0.5)
    px.write(truth, path / "net.bif")
    frame = px.simulate(truth, 300, random_state=0)
    frame.to_csv(path / "data.csv", index=False)
    px.fit(spec, frame, n_init=1, prior=None, method="em").save(path / "fit.pyromix")
    units = pd.DataFrame({"successes": [1, 2, 3, 4], "trials": 5})
    units.to_csv(path / "units.csv", index=False)
    return path


def speak(say) -> dict[str, float]:
    if say is not None:
        say("hello")
    return {}


def make(fit, path=None, **_) -> Report:
    """In place of a report, which takes a second."""
    made = Report("hello", "", Letter("hello", (), (), (), "", None), (), fit, None, None, None)
    if path is not None:
        made.save(path)
    return made


@pytest.fixture
def at(folder, monkeypatch) -> Path:
    """Commands run in the folder; what takes seconds says one word."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("pyromix.cli.demo.run", speak)
    monkeypatch.setattr("pyromix.report.compose.make_report", make)
    return folder


def call(line: str, monkeypatch, out, err=None) -> tuple[int, str]:
    """Exit code and stderr of a command whose standard output is a given stream."""
    said = io.StringIO() if err is None else err
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", said)
        with pytest.raises(SystemExit) as caught:
            main(line.split())
    return int(caught.value.code or 0), said.getvalue() if err is None else ""


def test_there_is_a_line_for_every_command():
    assert {c.callback.__name__ for c in app.registered_commands} == set(COMMANDS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_told_and_ends_with_one(at, monkeypatch, command):
    with open("/dev/full", "w") as full:
        code, err = call(COMMANDS[command], monkeypatch, full)
    assert code == 1
    assert "FileError: cannot write to standard output: No space left on device\n" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_who_leaves_ends_a_command_in_silence(at, monkeypatch, command):
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as pipe:
        code, err = call(COMMANDS[command], monkeypatch, pipe)
    assert code == 141
    assert "rror" not in err


def test_what_a_pipe_takes_half_is_lost_to_nobody_silently(at, monkeypatch):
    """PYTHONUNBUFFERED: one write, of which the system takes a part."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with open(reads, "rb"), io.TextIOWrapper(open(writes, "wb", 0), write_through=True) as pipe:
        code, err = call("simulate net.bif -n 30000", monkeypatch, pipe)
    assert code == 1
    assert "cannot write to standard output" in err


def test_closed_streams_are_told_as_far_as_anybody_can_hear_it(at, monkeypatch):
    kept = os.dup(1)
    try:
        os.close(1)
        code, err = call(COMMANDS["do"], monkeypatch, None)
        assert (code, err) == (
            1,
            "FileError: cannot write to standard output: Bad file descriptor\n",
        )
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_a_message_that_nobody_can_hear_leaves_the_exit_code(at, monkeypatch):
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as pipe:
        assert call("do net.bif --query Q", monkeypatch, io.StringIO(), pipe)[0] == 1


@pytest.mark.parametrize("command", ["fit", "check", "select", "iid"])
def test_standard_input_that_is_closed_is_told(at, monkeypatch, command):
    monkeypatch.setattr(sys, "stdin", None)
    line = COMMANDS[command].replace("data.csv", "-").replace("units.csv", "-")
    line = line if command != "check" else f"{line} -"
    code, err = call(line, monkeypatch, io.StringIO())
    assert code == 1
    assert "cannot read standard input: it is closed" in err


def test_standard_input_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Broken())))
    with pytest.raises(FileError, match="cannot read standard input: Input/output error"):
        standard_input()


class Interrupting(io.StringIO):
    """Ctrl-C while something is printed."""

    def write(self, text):
        raise KeyboardInterrupt


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interruption_ends_with_130_and_says_nothing(at, monkeypatch, command):
    code, err = call(COMMANDS[command], monkeypatch, Interrupting())
    assert code == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("command", WRITERS)
def test_an_interruption_in_the_middle_of_a_file_leaves_nothing(at, monkeypatch, command):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = sorted(os.listdir(at))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)  # the draft is there, the file is not
        code, _ = call(WRITERS[command], monkeypatch, io.StringIO())
    assert code == 130
    assert sorted(os.listdir(at)) == before


def test_an_interruption_while_the_command_line_is_imported_says_nothing(monkeypatch, capsys):
    class Interrupting:
        def find_spec(self, name, *_):
            if name == "pyromix.cli":
                raise KeyboardInterrupt

    for name in [n for n in sys.modules if n.split(".")[:2] == ["pyromix", "cli"]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == 130
    assert capsys.readouterr().err == ""
