"""Writing files: modes and links stay, dead drafts go, whatever the system refuses has a name."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from laws.formats import assert_same, mixture_with

import pyromix as px
from pyromix.errors import FileError
from pyromix.formats import disk
from pyromix.formats.disk import write_files

ENDINGS = [".bif", ".xmlbif", ".xdsl", ".net", ".uai", ".pyromix"]


def unchecked(contents):
    """A check that takes whatever was written."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_replaces_a_file_has_its_mode(tmp_path, ending, mode):
    path = tmp_path / f"net{ending}"
    px.write(mixture_with(), path)
    path.chmod(mode)
    px.write(mixture_with(("a", "b")), path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        px.write(mixture_with(), tmp_path / "net.bif")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "net.bif").stat().st_mode) == 0o640


def test_a_private_file_is_private_before_anything_is_in_it(tmp_path, monkeypatch):
    path = tmp_path / "net.bif"
    path.write_text("secret")
    path.chmod(0o600)
    seen = []

    def check(contents):
        seen.extend(stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir())

    write_files({path: b"more"}, check)
    assert seen == [0o600, 0o600]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("relative", [False, True])
def test_a_link_stays_one_and_what_it_leads_to_is_replaced(tmp_path, ending, relative):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / f"real{ending}", tmp_path / f"link{ending}"
    px.write(mixture_with(("a", "b")), target)
    link.symlink_to(f"there/real{ending}" if relative else target)
    px.write(mixture_with(), link)
    assert link.is_symlink()
    assert_same(px.read(link), mixture_with())
    assert f"real{ending}" in names(tmp_path / "there")
    assert not [name for name in (*names(tmp_path), *names(tmp_path / "there")) if name[0] == "."]


def test_a_link_to_nothing_is_filled(tmp_path):
    (tmp_path / "link.bif").symlink_to(tmp_path / "new.bif")
    px.write(mixture_with(), tmp_path / "link.bif")
    assert (tmp_path / "link.bif").is_symlink()
    assert names(tmp_path) == ["link.bif", "new.bif"]


def dead(path):
    """A draft of a path whose writer is gone."""
    draft = path.with_name(f".{path.name}.{'0123456789abcdef' * 2}")
    draft.write_bytes(b"half")
    return draft


def test_dead_drafts_of_a_file_go_with_the_next_save_and_nothing_else(tmp_path):
    path = tmp_path / "net.bif"
    dead(path)
    others = [
        dead(tmp_path / "other.bif"),
        tmp_path / ".net.bif.mine",
        tmp_path / f".net.bif.{'0' * 31}",
        tmp_path / f"net.bif.{'0' * 32}",
        tmp_path / f".netxbif.{'0' * 32}",
    ]
    for other in others:
        other.write_bytes(b"mine")
    px.write(mixture_with(), path)
    assert names(tmp_path) == sorted([path.name, *(other.name for other in others)])


def test_the_draft_of_a_writer_at_work_is_left_alone(tmp_path):
    path = tmp_path / "net.bif"

    def check(contents):
        write_files({path: b"the other"}, unchecked)

    write_files({path: b"mine"}, check)
    assert path.read_bytes() == b"mine"
    assert names(tmp_path) == ["net.bif"]


def test_a_draft_taken_for_a_dead_one_is_made_anew(tmp_path, monkeypatch):
    path, ask, asked = tmp_path / "net.bif", disk._locked, []

    def taken(file, *, wait):
        if wait and not asked:  # between its making and its lock, somebody cleans up
            asked.append(file.name)
            os.unlink(file.name)
        return ask(file, wait=wait)

    monkeypatch.setattr(disk, "_locked", taken)
    write_files({path: b"mine"}, unchecked)
    assert path.read_bytes() == b"mine"
    assert names(tmp_path) == ["net.bif"]


KILLED = """
import sys, time
from pathlib import Path
from pyromix.formats.disk import write_files
def check(contents):
    print("ready", flush=True)
    time.sleep(60)
write_files({Path(sys.argv[1]): b"new"}, check)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_writer_killed_half_way_leaves_the_old_file_and_the_next_save_cleans_up(tmp_path):
    path = tmp_path / "net.bif"
    path.write_bytes(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "ready\n"
        assert len(names(tmp_path)) == 2
        writer.kill()
        writer.wait()
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    write_files({path: b"next"}, unchecked)
    assert names(tmp_path) == ["net.bif"]
    assert path.read_bytes() == b"next"


def test_a_hundred_saves_at_once_leave_one_whole_file(tmp_path):
    path, failures = tmp_path / "net.bif", []

    def save(number):
        try:
            write_files({path: bytes([number]) * 10_000}, unchecked)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert names(tmp_path) == ["net.bif"]
    content = path.read_bytes()
    assert content == content[:1] * 10_000


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("call", ["open", "replace", "realpath", "fstat"])
def test_whatever_the_system_refuses_is_a_file_error(tmp_path, monkeypatch, call, number):
    """A read-only or full disk, as the system tells it at any step."""
    path = tmp_path / "net.bif"

    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    if call == "open":
        monkeypatch.setattr(Path, "open", refuse)
    elif call == "realpath":
        monkeypatch.setattr(os.path, "realpath", refuse)
    else:
        monkeypatch.setattr(os, call, refuse)
    with pytest.raises(FileError, match=rf"net\.bif: cannot be written: {os.strerror(number)}"):
        write_files({path: b"x"}, unchecked)
    monkeypatch.undo()
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_is_no_file_to_replace():
    with pytest.raises(FileError, match="expected the name of a file, found a device"):
        write_files({Path("/dev/full"): b"x"}, unchecked)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\ud800"])
@pytest.mark.parametrize("ending", [*ENDINGS, ".bif.gz"])
def test_a_name_that_no_system_can_hold_is_a_file_error(tmp_path, name, ending):
    path = tmp_path / f"{name}{ending}"
    for action in (px.read, px.formats.files.read_structure, lambda p: px.write(mixture_with(), p)):
        with pytest.raises(FileError):
            action(path)
    assert names(tmp_path) == []


def test_a_name_as_long_as_a_system_can_hold_is_written(tmp_path):
    path = tmp_path / f"{'é' * 120}.bif"
    px.write(mixture_with(), path)
    assert names(tmp_path) == [path.name]


def test_a_spec_is_read_by_the_same_rules(tmp_path):
    with pytest.raises(FileError):
        px.formats.files.read_structure(tmp_path / f"{'x' * 5000}.toml")
