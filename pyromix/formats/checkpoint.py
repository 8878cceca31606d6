"""Long work on disk, step by step: what is done is not done again.

A zip of ``checkpoint.json`` and one member per finished step, all of them stored as they are, so
that the file unpacks to its own size. It is written anew, all or nothing, after every step: work
that is stopped in between leaves what was done. Nothing in it is executed on reading.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from pyromix.errors import FileError, PyromixError
from pyromix.formats.bundle import FORMAT, ZIP_ERRORS, packed_tensors, unpacked_tensors
from pyromix.formats.disk import is_there, read_bytes, write_files
from pyromix.formats.words import json_once, shown
from pyromix.model.arguments import path_of

MANIFEST = "checkpoint.json"
LARGEST_MANIFEST = 2**20
"""Bytes of ``checkpoint.json``."""

FIELDS = "fields"
"""Name of the tensor whose bytes are the JSON fields of a step."""

_EPOCH = (1980, 1, 1, 0, 0, 0)

# What incomplete or damaged fields of a step end in, where no check of ours comes first.
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError)

Asked = Mapping[str, str | int | float | bool | None]
"""What was asked for, by name: a checkpoint goes on with the same alone."""

Step = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""What a step found: tensors, and fields that JSON holds."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Finished steps of one piece of work.

    Attributes:
        path: where they are kept; None keeps nothing.
        work: what is being done, e.g. ``"bootstrap"``.
        asked: of what, and how.
        steps: content of every finished step by name.
    """

    path: Path | None
    work: str = ""
    asked: Asked = field(default_factory=dict)
    steps: dict[str, bytes] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether steps are kept at all."""
        return self.path is not None

    def step(
        self,
        name: str,
        compute: Callable[[], T],
        pack: Callable[[T], Step],
        unpack: Callable[[Mapping[str, Tensor], Mapping[str, Any]], T],
    ) -> T:
        """Return what a step finds: from the file where it is there, else computed, and kept.

        Args:
            name: of the step, distinct in this work.
            compute: does it.
            pack: tensors and fields of what it found; every bit must come back.
            unpack: the inverse.

        Raises:
            FileError: the content of the step is damaged, or the file cannot be written to.
        """
        if self.path is None:
            return compute()
        if name in self.steps:
            try:
                tensors = dict(unpacked_tensors(self.steps[name]))
                fields = json_once(tensors.pop(FIELDS).numpy().tobytes())
                return unpack(tensors, fields)
            except (*_DAMAGE, PyromixError) as error:
                raise FileError(
                    f"{self.path}: step {name!r} of the checkpoint is damaged "
                    f"({type(error).__name__}: {error}); remove the file to begin anew"
                ) from error
        found = compute()
        tensors, fields = pack(found)
        text = json.dumps(fields, allow_nan=False).encode()
        said = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        self.steps[name] = packed_tensors({**tensors, FIELDS: said})
        self._write(self.path)
        return found

    def _write(self, path: Path) -> None:
        """Write all steps, all or nothing."""
        fields = {"format": FORMAT, "work": self.work, "asked": dict(self.asked)}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, content in ((MANIFEST, json.dumps(fields).encode()), *self.steps.items()):
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
        content = buffer.getvalue()

        def check(contents: Mapping[Path, bytes]) -> None:
            if contents[path] != content:
                raise FileError(f"{path}: nothing was written, since reading back gave other bytes")

        write_files({path: content}, check)


NOT_KEPT = Checkpoint(None)
"""Of work that nobody wants to go on with."""


def checkpoint_of(path: str | PathLike[str], work: str, asked: Asked) -> Checkpoint:
    """Open the checkpoint of a piece of work, or begin one.

    Args:
        path: of the file.
        work: what is being done.
        asked: of what, and how; with ``digest`` for what is large.

    Raises:
        FileError: the file is no checkpoint, damaged, or one of other work, which is named; or
            there is no folder for it.
    """
    place = path_of(path)
    if not place.parent.is_dir():
        raise FileError(
            f"cannot keep a checkpoint at {str(place)!r}: there is no folder "
            f"{str(place.parent)!r}; make it first"
        )
    if not is_there(place):
        return Checkpoint(place, work, asked)
    members = _members(place, read_bytes(place))
    try:
        fields = json_once(members.pop(MANIFEST))
        found = (fields["format"], fields["work"], dict(fields["asked"]))
    except (*_DAMAGE, RecursionError) as error:
        raise FileError(f"{place}: {MANIFEST} is unreadable: {error}") from error
    if found[0] != FORMAT:
        raise FileError(
            f"{place}: expected a checkpoint of format {FORMAT}, found {shown(found[0])}; another "
            "version of pyromix wrote it: give another path"
        )
    there = {"work": found[1], **found[2]}
    here = {"work": work, **asked}
    for name in dict.fromkeys((*here, *there)):
        if here.get(name) != there.get(name):
            raise FileError(
                f"{place}: the checkpoint is of another {name}: {shown(there.get(name))}, not "
                f"{shown(here.get(name))}; go on with what it was begun with, or give another path"
            )
    return Checkpoint(place, work, asked, members)


def digest(*tensors: Tensor) -> str:
    """Return the sha256 of some tensors: of their types, shapes and bits."""
    found = sha256()
    for tensor in tensors:
        plain = tensor.detach().to("cpu").contiguous()
        found.update(f"{plain.dtype} {tuple(plain.shape)} ".encode())
        found.update(plain.numpy().tobytes())
    return found.hexdigest()


def _members(path: Path, content: bytes) -> dict[str, bytes]:
    """Members of a checkpoint, each stored as it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            plain = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
            if MANIFEST not in names or len(set(names)) != len(names) or not plain:
                raise FileError(f"{path}: expected a checkpoint, found a zip of {shown(names)}")
            sizes = [info.file_size for info in infos]
            if sum(sizes) > len(content) or sizes[names.index(MANIFEST)] > LARGEST_MANIFEST:
                raise FileError(f"{path}: the members of the checkpoint announce other sizes")
            return {name: archive.read(name) for name in names}
    except FileError:
        raise
    except ZIP_ERRORS as error:
        raise FileError(
            f"{path}: expected a checkpoint (a zip file), found: {error}; is the file cut short?"
        ) from error
