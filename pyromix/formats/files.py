"""Mixtures in network files: BIF, XMLBIF, XDSL, NET, UAI, and the lossless bundle.

What is written is read back and compared, bit for bit, before it takes the place of a file.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Hashable, Mapping
from pathlib import Path

from pyromix.errors import DataRepairWarning, FileError, SpecError, warn
from pyromix.formats.bif import read_bif, write_bif
from pyromix.formats.bundle import REGRESSION, WITH_NUMBERS, bundle_of, write_bundle
from pyromix.formats.content import BUNDLE, decoded_text, kind_of, unzipped
from pyromix.formats.disk import is_there, read_bytes, write_files
from pyromix.formats.names import (
    RULES,
    number_source,
    refuse_names,
    refuse_roles,
    refuse_untyped,
    rename,
    spell_source,
)
from pyromix.formats.net import read_net, write_net
from pyromix.formats.network import (
    Network,
    difference,
    from_network,
    network_of,
    same_states,
    without_constants,
)
from pyromix.formats.structure import LATENTS, Structure
from pyromix.formats.toml import read_toml
from pyromix.formats.uai import read_uai, write_uai
from pyromix.formats.xml import read_xdsl, read_xmlbif, write_xdsl, write_xmlbif
from pyromix.model.arguments import flag, name_of, path_of
from pyromix.model.mixture import BayesNetMixture, Fitted, mixture_of
from pyromix.model.spec import near_matches

NETWORK_SUFFIXES = (".bif", ".bif.gz", ".xmlbif", ".xdsl", ".net", ".uai")
"""Formats of other tools, read and written."""

READ_SUFFIXES = (".xml", ".bifxml", ".xmlbif.gz", ".xml.gz", ".xdsl.gz", ".net.gz", ".uai.gz")
"""Endings that are read too, and not written."""

UNSUPPORTED = {
    ".oobn": "an object-oriented network holds classes of networks; unfold it in Hugin and save it "
    "as .net",
    ".dne": "a network of Netica; save it from another tool as .xdsl or .bif",
    ".neta": "a network of Netica; save it from another tool as .xdsl or .bif",
    ".dsc": "a network of MSBN; save it from GeNIe as .xdsl",
    ".dsl": "the older format of GeNIe; save it from GeNIe as .xdsl",
    ".xbn": "a network of MSBN; save it from another tool as .xdsl or .bif",
    ".o3prm": "a relational model holds classes of networks; save one network of it as .bif",
    ".rds": "an object of R; write.bif of bnlearn saves it as .bif",
    ".pkl": "a pickle can run programs; save the network as .bif, or the fit as .pyromix",
}
"""Endings of formats that cannot be read: why, and what to do."""

BUNDLE_SUFFIX = ".pyromix"
"""The lossless format: typed states, batches, exact tables."""

SPEC_SUFFIX = ".toml"
"""A structure without tables, read only."""

NAMES_SUFFIX = ".names.json"
"""What is added to the name of a UAI file for the sidecar that holds its names."""


def read(path: str | os.PathLike[str], source: str = "U") -> BayesNetMixture:
    """Read a mixture from a network file or a bundle.

    The source is the vertex that the file declares latent, else the vertex named ``source``;
    k = 1 where there is neither. States of text formats are text, apart from those of a source
    that are ``0..k-1``. Variables of one state are left out, with a warning.

    Args:
        path: ``.bif``, ``.xmlbif``, ``.bifxml``, ``.xml``, ``.xdsl``, ``.net`` or ``.uai``, each
            also with ``.gz``, or ``.pyromix``. Where the content is of another of these formats
            than the ending says, it is read as what it is, with a warning.
        source: name of the source where the file declares none latent.

    Raises:
        FileError: the path is missing, or its content is not what its ending says.
        SpecError: the network in the file is not usable.
    """
    path, source = path_of(path), name_of("source", source)
    found = _read_any(path, source)
    if isinstance(found, BayesNetMixture):
        return found
    try:
        return from_network(found, source)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    except FileError as error:
        raise FileError(f"{path}: {error}") from error


def write(
    mixture: BayesNetMixture | Fitted, path: str | os.PathLike[str], *, rename_states: bool = False
) -> None:
    """Write a mixture to a network file or a bundle, checked by reading it back.

    The source is written as the first vertex and, in every format, marked as latent; with k = 1
    there is none. UAI has no names: they go to a sidecar, ``path`` + ``.names.json``.

    Args:
        mixture: what to write, or a fit, whose estimate is written without what it was fitted to
            (``fit.save`` keeps all); only the bundle holds batches.
        path: its ending chooses the format, as for `read`.
        rename_states: rename variables and states that the format cannot hold, with a
            DataRepairWarning that lists them.

    Raises:
        StateNameError: the format cannot hold a name, or would give back another type.
        FileError: the path cannot be written to. In any case of error nothing is left on disk.
        SpecError: a batched mixture for a format other than the bundle.
    """
    mixture, path = mixture_of(mixture), path_of(path)
    rename_states = flag("rename_states", rename_states)
    suffix = suffix_of(path)
    if suffix == BUNDLE_SUFFIX:
        write_bundle(path, mixture)
        return
    if suffix == SPEC_SUFFIX:
        raise FileError(
            f"{path}: a TOML spec holds no tables; write {', '.join(NETWORK_SUFFIXES)} or "
            f"{BUNDLE_SUFFIX}"
        )
    if suffix not in NETWORK_SUFFIXES:
        raise FileError(
            f"{path}: files that end in {suffix} are read only; write one that ends in "
            f"{', '.join(NETWORK_SUFFIXES)} or {BUNDLE_SUFFIX}"
        )
    network, changes = _fitted_to(network_of(mixture), _kind(suffix), rename_states=rename_states)
    if changes:
        listed = "; ".join(
            f"{what}: {', '.join(f'{old!r} -> {new!r}' for old, new in names.items())}"
            for what, names in changes.items()
        )
        warn(f"{path}: renamed for the format: {listed}", DataRepairWarning)

    def check(contents: Mapping[Path, bytes]) -> None:
        if changed := difference(network, number_source(_decoded(path, suffix, contents))):
            raise FileError(
                f"{path}: nothing was written, since reading back showed that {changed}; use the "
                f"bundle {BUNDLE_SUFFIX}"
            )

    write_files(_encoded(path, suffix, network), check)


def read_structure(path: str | os.PathLike[str], source: str = "U") -> Structure:
    """Read the graph, and the states where they are said, from any file that holds them.

    Args:
        path: as for `read`, or a TOML spec.
        source: name of the source where a network file declares none latent; without such a
            vertex one is added.

    Raises:
        FileError: the path is missing, or its content is not what its ending says.
        SpecError: the graph in the file is not usable.
    """
    path, source = path_of(path), name_of("source", source)
    try:
        if suffix_of(path) == SPEC_SUFFIX:
            return _read_toml(path)
        found = _read_any(path, source)
        if isinstance(found, BayesNetMixture):
            return Structure.of_spec(found.spec)
        return found.structure(source)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def suffix_of(path: Path) -> str:
    """Return the ending that chooses the format, ``.bif.gz`` being one.

    Raises:
        FileError: no format has this ending.
    """
    known = (*NETWORK_SUFFIXES, BUNDLE_SUFFIX, SPEC_SUFFIX, *READ_SUFFIXES)
    found = "".join(path.suffixes[-2:]).lower()
    if found not in known:
        found = path.suffix.lower()
    if found in UNSUPPORTED:
        raise FileError(
            f"{path}: files that end in {found} are not supported: {UNSUPPORTED[found]}"
        )
    if found not in known:
        raise FileError(
            f"{path}: expected an ending among {', '.join(known)}, found "
            f"{path.suffix!r}{near_matches(path.suffix, known)}"
        )
    return found


def _kind(suffix: str) -> str:
    return suffix.split(".")[1]


def _fitted_to(
    network: Network, kind: str, *, rename_states: bool
) -> tuple[Network, dict[str, dict[Hashable, Hashable]]]:
    """The network as the format will give it back, and what had to be renamed for that."""
    if kind == "uai":
        refuse_untyped(network, "UAI")
        refuse_roles(network, "UAI")
        return network, {}
    changes: dict[str, dict[Hashable, Hashable]] = {}
    if rename_states:
        numbered = number_source(network)
        for name in numbered.roles.get(LATENTS, ()):
            if not same_states(network.states[name], numbered.states[name]):
                pairs = zip(network.states[name], numbered.states[name], strict=True)
                changes[name] = dict(pairs)
        spelled, renamed = rename(spell_source(numbered), RULES[kind])
        changes.update(renamed)
    else:
        spelled = spell_source(network)
    refuse_names(spelled, RULES[kind])
    return number_source(spelled), changes


def _encoded(path: Path, suffix: str, network: Network) -> dict[Path, bytes]:
    kind = _kind(suffix)
    if kind == "uai":
        text, names = write_uai(network)
        return {_names_path(path): names, path: text.encode()}
    network = spell_source(network)
    if kind == "xmlbif":
        content = write_xmlbif(network)
    elif kind == "xdsl":
        content = write_xdsl(network)
    else:
        content = (write_bif if kind == "bif" else write_net)(network).encode()
    # Without a time stamp the same network gives the same bytes.
    return {path: gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content}


def _decoded(path: Path, suffix: str, contents: Mapping[Path, bytes]) -> Network:
    """The network of a file, whatever of the formats its content is."""
    try:
        content = unzipped(suffix, contents[path])
        kind = kind_of(suffix, content)
        if kind == BUNDLE:
            raise FileError("expected a network file, found a bundle")
        if kind == "xmlbif":
            return read_xmlbif(content)
        if kind == "xdsl":
            return read_xdsl(content)
        text = decoded_text(content, guess=kind in ("bif", "net"))
        if kind == "uai":
            return read_uai(text, contents.get(_names_path(path)))
        return read_bif(text) if kind == "bif" else read_net(text)
    except FileError as error:
        raise FileError(f"{path}: {error}") from error


def _read_any(path: Path, source: str) -> Network | BayesNetMixture:
    """The mixture of a bundle, or the network of any other file."""
    suffix = suffix_of(path)
    if suffix == SPEC_SUFFIX:
        raise FileError(f"{path}: a TOML spec holds no tables; it is a model to fit, not a network")
    contents = {path: read_bytes(path)}
    if kind_of(suffix, contents[path], said=False) == BUNDLE:
        found = bundle_of(path, contents[path])
        if found.kind == REGRESSION:
            raise FileError(
                f"{path}: expected a network, found a regression, whose source depends on "
                "covariates that no network has; px.load(path) reads it"
            )
        if found.kind == WITH_NUMBERS:
            raise FileError(
                f"{path}: expected a mixture of tables, found a {found.kind}; px.load(path) reads "
                "it"
            )
        return found.mixture
    names = _names_path(path)
    if suffix == ".uai" and is_there(names):
        contents[names] = read_bytes(names)
    network = _decoded(path, suffix, contents)
    # With the names of a sidecar states have their types.
    return without_constants(network if names in contents else number_source(network, source))


def _read_toml(path: Path) -> Structure:
    content = read_bytes(path)
    try:
        return read_toml(decoded_text(content))
    except FileError as error:
        raise FileError(f"{path}: {error}") from error


def _names_path(path: Path) -> Path:
    return path.with_name(path.name + NAMES_SUFFIX)
