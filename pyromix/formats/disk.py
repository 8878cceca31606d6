"""Whole files in and out: read with a named error, write all or nothing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pyromix.errors import FileError

try:
    import fcntl
except ImportError:  # where no file can be locked, drafts of others are left alone
    fcntl = None

LONGEST_STEM = 150
"""Bytes of the name of a file that go into the name of its draft; file systems allow 255 in all."""


def is_there(path: Path) -> bool:
    """Whether a path leads to anything.

    Raises:
        FileError: nobody can say.
    """
    with _named(f"{path}: cannot be read"):
        return path.exists()


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        FileError: nothing is there, it is a directory, or it cannot be read.
    """
    with _named(f"{path}: cannot be read"):
        if path.is_dir():
            raise FileError(f"{path}: expected a file, found a directory")
        try:
            return path.read_bytes()
        except FileNotFoundError:
            nearby = path.parent if path.parent.is_dir() else None
            where = f"in {nearby.absolute()}" if nearby else f"{path.parent} is no directory either"
            raise FileError(f"{path}: no such file ({where}); check the spelling") from None


def write_files(
    contents: Mapping[Path, bytes], check: Callable[[Mapping[Path, bytes]], None]
) -> None:
    """Write files through temporary neighbours, which are read back and checked first.

    Where anything fails nothing is left behind, and files of the same names stay as they were. What
    replaces a file has its mode; a link stays one, and what it leads to is replaced. Drafts that a
    killed process left beside these files go.

    Args:
        contents: what to write where; all in one directory.
        check: is given what was read back; it raises where that is not what was meant.

    Raises:
        FileError: the place cannot be written to.
    """
    places = ", ".join(map(str, contents))
    with (
        _named(f"{places}: cannot be written", "; does the directory exist?"),
        ExitStack() as open_,
    ):
        targets = {path: Path(os.path.realpath(path)) for path in contents}
        for path, target in targets.items():
            _refuse_no_file(path, target)
        drafts: dict[Path, Path] = {}
        for path, content in contents.items():
            _clean_up(targets[path])
            drafts[path], file = open_.enter_context(_draft(targets[path]))
            file.write(content)
            file.flush()
        check({path: draft.read_bytes() for path, draft in drafts.items()})
        for path, draft in drafts.items():
            os.replace(draft, targets[path])


@contextmanager
def _named(what: str, advice: str = "") -> Iterator[None]:
    """Give an error of the system, or of a path that no system can hold, its name."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{what}: {error.strerror or error}{advice}") from error
    except ValueError as error:
        # Names with a NUL byte, or with half of a surrogate pair; other errors are not of disks.
        if type(error) not in (ValueError, UnicodeEncodeError) or isinstance(error, FileError):
            raise
        raise FileError(f"{what.encode(errors='replace').decode()}: {error}") from error


def _refuse_no_file(path: Path, target: Path) -> None:
    """Refuse a place where something other than a file stands."""
    with suppress(FileNotFoundError):
        mode = target.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "directory" if stat.S_ISDIR(mode) else "device or pipe"
            raise FileError(f"{path}: expected the name of a file, found a {kind}")


@contextmanager
def _draft(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside the target, with its mode, locked while it is ours; gone at the end."""
    while True:
        draft = target.with_name(f".{_stem(target)}.{uuid4().hex}")
        # "x" honours the umask, as a plain write does; tempfile would leave mode 0600.
        with draft.open("xb") as file:
            try:
                if not _still_ours(file):
                    continue
                with suppress(OSError):
                    os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
                yield draft, file
            finally:
                with suppress(OSError):
                    draft.unlink(missing_ok=True)
            return


def _still_ours(file: BinaryIO) -> bool:
    """Lock a draft; whether nobody took it for a dead one before it was locked."""
    return not _locked(file, wait=True) or os.fstat(file.fileno()).st_nlink > 0


def _locked(file: BinaryIO, *, wait: bool) -> bool:
    """Whether a lock was taken; it goes with the file, or with the process."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _clean_up(target: Path) -> None:
    """Remove drafts of a file whose writers are dead: nobody holds a lock on them."""
    ours = re.compile(rf"\.{re.escape(_stem(target))}\.[0-9a-f]{{32}}")
    with suppress(OSError):
        for name in os.listdir(target.parent):
            if ours.fullmatch(name):
                draft = target.with_name(name)
                with suppress(OSError), draft.open("rb") as file:
                    if _locked(file, wait=False):
                        draft.unlink(missing_ok=True)


def _stem(target: Path) -> str:
    """The name of a file, or a digest where it is too long for a draft."""
    name = os.fsencode(target.name)
    return target.name if len(name) <= LONGEST_STEM else sha256(name).hexdigest()
