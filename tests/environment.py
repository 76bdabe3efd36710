"""Loaded by pytest before Django's settings: tests run embedded, in a folder of their own, whatever the shell has set.

The addresses of real servers are kept aside in ADDRESSES for the tests marked `service`.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from sieis_site.env import VARIABLES

NAMES = {name for variable in VARIABLES for name in (variable.name, *variable.aliases)}
SERVERS = "TESTS_SERVERS"  # hands the addresses on to xdist's workers, whose environment comes without them
given = {name: os.environ[name] for name in NAMES if not name.startswith("SIEIS_") and name in os.environ}
ADDRESSES: dict[str, str] = given or json.loads(os.environ.get(SERVERS, "{}"))
os.environ[SERVERS] = json.dumps(ADDRESSES)

for name in [name for name in os.environ if name.removesuffix("_FILE") in NAMES]:
    del os.environ[name]
folder = tempfile.mkdtemp(prefix="sieis-tests-")
kernels = Path.cwd() / "var" / "numba"
os.environ |= {
    "SIEIS_DATA": folder,
    "SIEIS_EMBEDDED": "1",
    "SIEIS_LOG_LEVEL": "ERROR",
    "NUMBA_CACHE_DIR": str(kernels),
}
# A service test runs other tests once more on a server: in a process of its own, which is told by this.
if url := os.environ.get("TESTS_ON_DATABASE_URL"):
    os.environ["DATABASE_URL"] = url


def pytest_unconfigure() -> None:
    shutil.rmtree(folder, ignore_errors=True)
