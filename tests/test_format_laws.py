"""Every format under the laws of its seam."""

from __future__ import annotations

from laws.formats import BLANK, TYPED, FormatLaws

from pyromix.formats.files import BUNDLE_SUFFIX, NETWORK_SUFFIXES


class TestBif(FormatLaws):
    suffix = ".bif"
    refused = TYPED | BLANK | {"comma", "quote", "bracket", "brace", "semicolon", "bar", "comment"}


class TestZippedBif(TestBif):
    suffix = ".bif.gz"


class TestXmlBif(FormatLaws):
    suffix = ".xmlbif"
    refused = TYPED | BLANK


class TestXdsl(FormatLaws):
    suffix = ".xdsl"
    refused = TYPED | BLANK


class TestNet(FormatLaws):
    suffix = ".net"
    refused = TYPED | BLANK | {"quote", "backslash"}


class TestUai(FormatLaws):
    suffix = ".uai"
    renames = False


class TestBundle(FormatLaws):
    suffix = ".pyromix"
    renames = False
    holds_uninfluenced_of_one_source = True


REFUSED = {law.suffix: law.refused for law in FormatLaws.__subclasses__()}


def test_every_ending_that_is_written_has_its_laws():
    assert {*REFUSED, TestZippedBif.suffix} == {*NETWORK_SUFFIXES, BUNDLE_SUFFIX}
