"""An evidence bundle: a ZIP of what people read, the readings and the engine's memory, each with its sha256. Pure."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

FORMAT = 1
TOLD, READINGS, STATE, MANIFEST, README = (
    "evidence.json", "readings.parquet", "state.bin", "manifest.json", "README.txt",
)  # fmt: skip
MOST_BYTES = 256 << 20
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # ZIP's first instant: the same evidence is the same file
WORDS = """Evidence of an alert of SIEIS.

evidence.json     what was known: the alert, its event, versions, neighbours, timeline, verdict
readings.parquet  the mote's readings around it, as they were stored and scored
state.bin         what the engine remembered of the mote before the first of these readings
manifest.json     the sha256 of each part

manage.py verify_evidence FILE scores the readings again and compares.
"""


class BadBundle(ValueError):
    """The file is no evidence bundle, or not as it was written; says what is wrong."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle holds. `state` is empty where the readings cannot be scored again."""

    told: dict[str, Any]
    readings: pl.DataFrame
    state: bytes = b""

    def to_bytes(self) -> bytes:
        table = io.BytesIO()
        self.readings.write_parquet(table, compression="zstd")
        told = json.dumps(self.told, ensure_ascii=False, sort_keys=True, indent=1).encode()
        parts = {TOLD: told, READINGS: table.getvalue(), STATE: self.state, README: WORDS.encode()}
        manifest = {"format": FORMAT, "sha256": {name: _sha256(part) for name, part in parts.items()}}
        return _zipped({**parts, MANIFEST: json.dumps(manifest, sort_keys=True, indent=1).encode()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """The bundle that `to_bytes` made; refuses one of which any part is not as it was."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(part.file_size for part in archive.infolist()) > MOST_BYTES:
                    raise BadBundle(f"The bundle unpacks to more than {MOST_BYTES >> 20} MB, which no evidence does.")
                parts = {name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, EOFError, NotImplementedError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
            raise BadBundle(f"This is no ZIP file that can be read: {error}.") from error
        _check(parts)
        try:
            return cls(json.loads(parts[TOLD]), pl.read_parquet(io.BytesIO(parts[READINGS])), parts[STATE])
        except (ValueError, pl.exceptions.PolarsError) as error:
            raise BadBundle(f"A part of the bundle cannot be read: {error}.") from error


def _check(parts: Mapping[str, bytes]) -> None:
    if MANIFEST not in parts:
        raise BadBundle(f"The file has no {MANIFEST}, so it is no evidence bundle.")
    try:
        manifest = json.loads(parts[MANIFEST])
        wanted = dict(manifest["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadBundle(f"Its {MANIFEST} cannot be read: {error}.") from error
    if manifest.get("format") != FORMAT:
        raise BadBundle(f"The bundle has format {manifest.get('format')}; this version reads {FORMAT}.")
    for name in (TOLD, READINGS, STATE):
        if name not in parts:
            raise BadBundle(f"The bundle has no {name}.")
        if _sha256(parts[name]) != wanted.get(name):
            raise BadBundle(f"{name} is not what was written: its sha256 differs from that in {MANIFEST}.")


def _zipped(parts: Mapping[str, bytes]) -> bytes:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), part, zipfile.ZIP_DEFLATED)
    return blob.getvalue()


def _sha256(part: bytes) -> str:
    return hashlib.sha256(part).hexdigest()
