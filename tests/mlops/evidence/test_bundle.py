"""A bundle is what was written, or is refused with the part that is not."""

from __future__ import annotations

import io
import zipfile

import polars as pl
import pytest

from mlops.evidence.bundle import BadBundle, Bundle

BUNDLE = Bundle({"alert": {"id": 7}, "words": "45.2 °C"}, pl.DataFrame({"at": [1, 2], "value": [0.1, None]}), b"state")


def altered(part: str, content: bytes) -> bytes:
    """The bundle with one part written anew, as somebody would who wants it to say something else."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(BUNDLE.to_bytes())) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == part else old.read(name))
    return out.getvalue()


def test_a_bundle_comes_back_as_it_was_and_the_same_evidence_is_the_same_file():
    again = Bundle.from_bytes(BUNDLE.to_bytes())

    assert (again.told, again.state) == (BUNDLE.told, BUNDLE.state)
    assert again.readings.equals(BUNDLE.readings)
    assert BUNDLE.to_bytes() == BUNDLE.to_bytes()


@pytest.mark.parametrize("part", ["evidence.json", "readings.parquet", "state.bin"])
def test_a_part_that_was_altered_is_named(part):
    with pytest.raises(BadBundle, match=f"{part} is not what was written"):
        Bundle.from_bytes(altered(part, b"{}"))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all", BUNDLE.to_bytes()[:200]])
def test_what_is_no_bundle_is_refused_in_words(content):
    with pytest.raises(BadBundle):
        Bundle.from_bytes(content)


def test_a_manifest_of_another_format_is_refused():
    with pytest.raises(BadBundle, match="format 99"):
        Bundle.from_bytes(altered("manifest.json", b'{"format": 99, "sha256": {}}'))
