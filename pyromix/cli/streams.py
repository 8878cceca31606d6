"""Standard streams as a shell may leave them: closed, full, or with nobody at the other end."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import RawIOBase
from typing import Any, TextIO

from pyromix.errors import FileError


class OutputLost(Exception):  # noqa: N818 - told by an exit code where the reader has gone
    """Standard output takes no more.

    Attributes:
        reader_left: whoever read it has gone, as ``head`` does; else it is full or closed.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror}")
        self.reader_left = error.errno == errno.EPIPE


class Guarded:
    """A text stream whose failures are named, or swallowed where there is nobody left to tell."""

    def __init__(self, stream: Any, *, named: bool) -> None:
        self._stream, self._named = stream, named
        self._lost: OutputLost | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text.

        Raises:
            OutputLost: the stream takes no more.
        """
        return self._tried(self._stream.write, text)

    def flush(self) -> None:
        """Hand on what was written.

        Raises:
            OutputLost: the stream takes no more.
        """
        self._tried(self._stream.flush)

    def _tried(self, action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            if self._lost is None:
                return action(*arguments)
        except OSError as error:
            self._lost = OutputLost(error)
            self._let_go()
        if self._named and self._lost is not None:
            # again and again: the first to hear of it may be a library that is only trying it out
            raise self._lost
        return 0

    def _let_go(self) -> None:
        """Point the stream nowhere: Python writes what is left of it once more when it ends."""
        with suppress(OSError):  # of a stream without a number
            number, nowhere = self._stream.fileno(), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


@contextmanager
def guarded() -> Iterator[None]:
    """Standard output fails by name, standard error in silence, until the block ends.

    A closed stream is opened such that it fails when it is used, and not before: its number would
    go to the next file, and what libraries print would go there too.
    """
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    out, err = sys.stdout or _onto(1), sys.stderr or _onto(2)
    if isinstance(getattr(out, "buffer", None), RawIOBase):
        # PYTHONUNBUFFERED writes once, and forgets what the system did not take
        out = _onto(out.fileno(), out.encoding, out.errors)
    with (
        redirect_stdout(Guarded(out, named=True)),
        redirect_stderr(Guarded(err, named=False)),
    ):
        yield


def _onto(number: int, encoding: str = "utf-8", errors: str | None = None) -> TextIO:
    return os.fdopen(number, "w", encoding=encoding, errors=errors, closefd=False)


def standard_input() -> bytes:
    """All of standard input.

    Raises:
        FileError: it is closed, or cannot be read.
    """
    if sys.stdin is None:
        raise FileError("cannot read standard input: it is closed; pipe a table in, or name a file")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise FileError(f"cannot read standard input: {error.strerror}; name a file") from None
