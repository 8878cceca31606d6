"""Whole files in and out: read with a named error, write all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from pyromix.errors import FileError


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        FileError: nothing is there, it is a directory, or it cannot be read.
    """
    if path.is_dir():
        raise FileError(f"{path}: expected a file, found a directory")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        nearby = path.parent if path.parent.is_dir() else None
        where = f"in {nearby.absolute()}" if nearby else f"{path.parent} is no directory either"
        raise FileError(f"{path}: no such file ({where}); check the spelling") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_files(
    contents: Mapping[Path, bytes], check: Callable[[Mapping[Path, bytes]], None]
) -> None:
    """Write files through temporary neighbours, which are read back and checked first.

    Where anything fails nothing is left behind, and files of the same names stay as they were.

    Args:
        contents: what to write where; all in one directory.
        check: is given what was read back; it raises where that is not what was meant.

    Raises:
        FileError: the place cannot be written to.
    """
    drafts = {path: path.with_name(f".{path.name}.{uuid4().hex}") for path in contents}
    try:
        for path, content in contents.items():
            if path.is_dir():
                raise FileError(f"{path}: expected the name of a file, found a directory")
            # "x" honours the umask, as a plain write does; tempfile would leave mode 0600.
            with drafts[path].open("xb") as file:
                file.write(content)
        check({path: draft.read_bytes() for path, draft in drafts.items()})
        for path, draft in drafts.items():
            os.replace(draft, path)
    except FileError:
        raise
    except OSError as error:
        places = ", ".join(map(str, contents))
        raise FileError(
            f"{places}: cannot be written: {error.strerror or error}; does the directory exist?"
        ) from error
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink(missing_ok=True)
