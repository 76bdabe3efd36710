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
# ---- read by docker-compose.yml alone; its secrets are files that deploy/make-secrets writes -------------------
# A pack that is installed at the first start, by name or path; more: manage.py load_pack
# SETUP_PACK=indoor
# The demo (with SIEIS_DEMO=1), and Prometheus with Grafana: demo, observability or both, comma-separated
# COMPOSE_PROFILES=
# Tag of the image that is built and started
# SIEIS_VERSION=local
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
