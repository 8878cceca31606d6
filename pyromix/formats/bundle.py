"""The bundle ``.pyromix``: a zip of ``model.json`` and ``tensors.safetensors``.

Nothing in it is executed on reading; states keep their types, tables every bit, batches their
shape. A fit is a mixture with further JSON fields and further tensors.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyromix.errors import FileError, PyromixError, SpecError
from pyromix.formats.disk import read_bytes, write_files
from pyromix.formats.limits import MIB, check_unpacked
from pyromix.formats.names import TYPED_STATES, refuse_untyped_states
from pyromix.formats.network import same_states
from pyromix.formats.words import json_once, shown
from pyromix.model.arguments import path_of
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import SOURCE, MixtureSpec

FORMAT = 1
"""Version of the layout; a reader refuses what is newer."""

MANIFEST = "model.json"
TENSORS = "tensors.safetensors"
WITH_NUMBERS = "fit with numbers"
REGRESSION = "regression"
BUNDLE_KINDS = ("mixture", "fit", WITH_NUMBERS, REGRESSION)

LARGEST_MANIFEST = 32 * MIB
"""Bytes of ``model.json``; its numbers take many times as much once they are read."""

# What safetensors raises on damaged input: unknown types are KeyErrors, impossible sizes
# RuntimeErrors, OverflowErrors or AssertionErrors.
_TENSOR_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    OverflowError,
    AssertionError,
)

_EXTRA = "extra/"
_EPOCH = (1980, 1, 1, 0, 0, 0)
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises on damaged input, beside its own error."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle holds.

    Attributes:
        kind: ``mixture``, ``fit``, ``fit with numbers`` or ``regression``.
        mixture: the mixture, on the CPU; of a fit with numbers that of the table in bins.
        extra: further fields.
        tensors: further tensors, on the CPU.
    """

    kind: str
    mixture: BayesNetMixture
    extra: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def write_bundle(
    path: str | os.PathLike[str],
    mixture: BayesNetMixture,
    *,
    kind: str = "mixture",
    extra: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a mixture, or a fit, all or nothing; the same content gives the same bytes.

    Args:
        path: where; an existing file is replaced only once the new one has been read back.
        mixture: any device, any batch axes.
        kind: ``mixture``, ``fit``, ``fit with numbers`` or ``regression``.
        extra: further fields; whatever JSON holds, with names as keys.
        tensors: further tensors by name, any dtype.

    Raises:
        StateNameError: a state is neither str, bool, int nor finite float.
        FileError: the path cannot be written to, or ``extra`` is not JSON.
        SpecError: an unknown kind.
    """
    path = path_of(path)
    if kind not in BUNDLE_KINDS:
        raise SpecError(f"the kind of a bundle is one of {BUNDLE_KINDS}, found {kind!r}")
    spec = mixture.spec
    for v in range(SOURCE, spec.n_variables):
        refuse_untyped_states(spec.name(v), spec.states_of(v), "the bundle")
    named = {
        **dict(zip(_table_names(spec), mixture.tables, strict=True)),
        **{f"{_EXTRA}{name}": tensor for name, tensor in (tensors or {}).items()},
    }
    fields = {
        "format": FORMAT,
        "kind": kind,
        "spec": _spec_fields(spec),
        "extra": dict(extra or {}),
    }
    try:
        text = json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FileError(
            f"{path}: nothing was written, since the extra fields are no JSON: {error}; "
            "numbers beyond float range and arrays go into tensors"
        ) from error

    manifest = text.encode(errors="surrogatepass")

    def check(contents: Mapping[Path, bytes]) -> None:
        back = bundle_of(path, contents[path], trusted=True)
        same = {
            **dict(zip(_table_names(back.mixture.spec), back.mixture.tables, strict=True)),
            **{f"{_EXTRA}{name}": tensor for name, tensor in back.tensors.items()},
        }
        intact = same_spec(spec, back.mixture.spec) and same.keys() == named.keys()
        if not intact or not all(_same_bits(named[name], same[name]) for name in named):
            raise FileError(f"{path}: nothing was written, since reading back gave other content")

    write_files({path: _zipped(manifest, packed_tensors(named))}, check)


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle.

    Raises:
        FileError: the path is missing, or its content is damaged, incomplete or of a newer format.
    """
    path = path_of(path)
    return bundle_of(path, read_bytes(path))


def same_spec(left: MixtureSpec, right: MixtureSpec) -> bool:
    """Whether two specs agree, types of states included (1, 1.0 and True are equal in Python)."""
    return left == right and all(
        same_states(left.states_of(v), right.states_of(v)) for v in range(SOURCE, left.n_variables)
    )


def _table_names(spec: MixtureSpec) -> tuple[str, ...]:
    """Names of the tables of a mixture, in their order."""
    return ("weights", *(f"cpts/{v}" for v in range(spec.n_variables)))


def _spec_fields(spec: MixtureSpec) -> dict[str, Any]:
    return {
        "variables": [
            {
                "name": name,
                "states": list(spec.states[v]),
                "parents": [spec.variables[p] for p in spec.parents[v]],
                "influenced": v not in spec.uninfluenced,
                **({"coarse": True} if v in spec.coarse else {}),
            }
            for v, name in enumerate(spec.variables)
        ],
        "source": {"name": spec.source, "states": list(spec.source_states)},
        "roles": {role: [spec.variables[v] for v in vertices] for role, vertices in spec.roles},
    }


def _spec_of(fields: Mapping[str, Any]) -> MixtureSpec:
    entries = _listed("variables", fields["variables"])
    number = {_name(entry["name"]): v for v, entry in enumerate(entries)}
    source = fields["source"]
    source_states = _states("the source", source["states"])
    return MixtureSpec(
        variables=tuple(entry["name"] for entry in entries),
        states=tuple(_states(entry["name"], entry["states"]) for entry in entries),
        parents=tuple(
            tuple(number[p] for p in _listed("parents", entry["parents"])) for entry in entries
        ),
        n_sources=len(source_states),
        source=_name(source["name"]),
        uninfluenced=frozenset(
            v for v, entry in enumerate(entries) if not _truth("influenced", entry["influenced"])
        ),
        source_states=source_states,
        roles=tuple(
            (_name(role), tuple(number[name] for name in _listed("roles", names)))
            for role, names in fields["roles"].items()
        ),
        coarse=tuple(
            v for v, entry in enumerate(entries) if _truth("coarse", entry.get("coarse", False))
        ),
    )


def _listed(what: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FileError(f"expected {what} as a list, found {shown(value)}")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise FileError(f"expected a name, found {shown(value)}")
    return value


def _truth(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise FileError(f"expected {what} to be true or false, found {shown(value)}")
    return value


def _states(what: str, value: Any) -> tuple[str | bool | int | float, ...]:
    states = tuple(_listed(f"states of {what}", value))
    if not all(isinstance(state, TYPED_STATES) for state in states):
        raise FileError(f"expected states of {what} as texts or numbers, found {shown(value)}")
    return states


def packed_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors of any dtype and device as the bytes of a safetensors file."""
    from safetensors.torch import save

    # A clone each: safetensors refuses tensors that share memory, expanded ones do.
    return save({name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()})


def _zipped(manifest: bytes, tensors: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in ((MANIFEST, manifest), (TENSORS, tensors)):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED, 1)
    return buffer.getvalue()


def bundle_of(path: Path, content: bytes, *, trusted: bool = False) -> Bundle:
    """Return what the content of a bundle holds.

    Args:
        path: where it comes from.
        content: of the file.
        trusted: it was just written here, whatever it unpacks to.

    Raises:
        FileError: the content is damaged, incomplete, of a newer format, or unpacks to too much.
    """
    try:
        manifest, packed = _members(content, trusted=trusted)
        fields = _manifest(manifest)
        tensors = unpacked_tensors(packed)
    except FileError as error:
        raise FileError(f"{path}: {error}") from error
    try:
        spec = _spec_of(fields["spec"])
        mixture = BayesNetMixture.from_tables(spec, [tensors[n] for n in _table_names(spec)])
        if not isinstance(extra := fields["extra"], dict):
            raise FileError(f"expected extra fields by name, found {shown(extra)}")
    except (PyromixError, KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"{path}: the bundle is incomplete or damaged ({type(error).__name__}: {error})"
        ) from error
    further = {
        name.removeprefix(_EXTRA): tensor
        for name, tensor in tensors.items()
        if name.startswith(_EXTRA)
    }
    return Bundle(fields["kind"], mixture, extra, further)


def _members(content: bytes, *, trusted: bool) -> tuple[bytes, bytes]:
    """The manifest and the tensors, unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.namelist()
            if missing := [name for name in (MANIFEST, TENSORS) if name not in members]:
                raise FileError(f"expected {missing} in the bundle, found {shown(members)}")
            if len(set(members)) != len(members):
                raise FileError(f"expected members of distinct names, found {shown(members)}")
            sizes = [archive.getinfo(name).file_size for name in (MANIFEST, TENSORS)]
            if not trusted:
                check_unpacked(sum(sizes), len(content))
                if sizes[0] > LARGEST_MANIFEST:
                    raise FileError(
                        f"expected a {MANIFEST} of at most {LARGEST_MANIFEST // MIB} MiB, found "
                        f"{sizes[0]:,} bytes"
                    )
            return archive.read(MANIFEST), archive.read(TENSORS)
    except FileError:
        raise
    except ZIP_ERRORS as error:
        raise FileError(
            f"expected a bundle (a zip file), found: {error}; is the file cut short?"
        ) from error


def _manifest(content: bytes) -> dict[str, Any]:
    """The fields of a manifest of this version."""
    try:
        fields = json_once(content)
        version, kind = fields["format"], fields["kind"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(f"{MANIFEST} is unreadable: {error}") from error
    if version != FORMAT:
        raise FileError(
            f"expected a bundle of format {FORMAT}, found {shown(version)}; a newer pyromix "
            "wrote it: update"
        )
    if kind not in BUNDLE_KINDS:
        raise FileError(f"expected a kind among {BUNDLE_KINDS}, found {shown(kind)}")
    return fields


def unpacked_tensors(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        FileError: the content is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except (SafetensorError, *_TENSOR_ERRORS) as error:
        raise FileError(
            f"{TENSORS} is unreadable ({type(error).__name__}: {shown(str(error), 200)[1:-1]})"
        ) from error


def _same_bits(left: Tensor, right: Tensor) -> bool:
    left = left.detach().to("cpu").contiguous()
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if not left.numel():
        return True
    return torch.equal(left.flatten().view(torch.uint8), right.flatten().view(torch.uint8))
