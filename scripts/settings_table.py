"""Prints every setting from where it is declared: README.md and .env.example show exactly this, and a test holds them.

python scripts/settings_table.py                       the README's table
python scripts/settings_table.py --env >.env.example   the commented example
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from sieis_site.env import OUTSIDE, VARIABLES, Variable

HEAD = """\
# Every setting of SIEIS with its default. Nothing has to be set for `make run`. `docker compose` reads a copy of this
# file named .env; other processes get their settings from whatever starts them. NAME_FILE may name a file instead.
"""
COMPOSE = """
# ---- read by docker-compose.yml alone; it refuses to start without them, besides SIEIS_SECRET_KEY, INFLUXDB_V2_TOKEN,
# ---- AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY above. `openssl rand -hex 32` makes a good value for each.
# POSTGRES_PASSWORD=
# INFLUXDB_PASSWORD=
# The first administrator; change the password after the first login.
# SETUP_ADMIN_PASSWORD=
# Only for the profile "observability":
# GRAFANA_PASSWORD=
"""


def _default(variable: Variable) -> str:
    return f"`{variable.default}`" if variable.default else "—"


def table() -> str:
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for variable in VARIABLES:
        other = f" (also `{'`, `'.join(variable.aliases)}`)" if variable.aliases else ""
        lines.append(f"| `{variable.name}` | {_default(variable)} | {variable.help}{other} |")
    lines += [f"| `{name}` | — | {meaning} |" for name, meaning in OUTSIDE.items()]
    return "\n".join(lines) + "\n"


def example() -> str:
    paragraphs = [
        f"# {variable.help}: {variable.expected}\n# {variable.name}={variable.default}\n" for variable in VARIABLES
    ]
    paragraphs += [f"# {meaning}\n# {name}=\n" for name, meaning in OUTSIDE.items()]
    return "\n".join([HEAD, *paragraphs]) + COMPOSE


if __name__ == "__main__":
    sys.stdout.write(example() if sys.argv[1:] == ["--env"] else table())
