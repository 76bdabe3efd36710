"""A data folder of the benchmark's own, chosen before Django reads its settings."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def embedded_django() -> Iterator[Path]:
    """Django on embedded parts in a fresh folder, its tables made."""
    from sieis_site.env import VARIABLES

    for name in {name for variable in VARIABLES for name in (variable.name, *variable.aliases)} & os.environ.keys():
        del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix="sieis-bench-"))
    os.environ |= {
        "SIEIS_DATA": str(folder), "SIEIS_EMBEDDED": "1", "SIEIS_LOG_LEVEL": "WARNING",
        "NUMBA_CACHE_DIR": str(ROOT / "var" / "numba"), "DJANGO_SETTINGS_MODULE": "sieis_site.settings",
    }  # fmt: skip
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
