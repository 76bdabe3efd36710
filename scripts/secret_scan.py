"""Fails on anything that looks like a secret and is not in .secrets.baseline.

python scripts/secret_scan.py             scans what git tracks or would track
python scripts/secret_scan.py --accept    writes the baseline anew, after you looked at each finding
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from detect_secrets.core import baseline
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

BASELINE = Path(".secrets.baseline")
SETTINGS = {
    "plugins_used": [
        {"name": name}
        for name in (
            "ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector",
            "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "KeywordDetector", "NpmDetector",
            "PrivateKeyDetector", "PypiTokenDetector", "SlackDetector", "StripeDetector",
        )
    ],
    "filters_used": [
        {"path": "detect_secrets.filters.allowlist.is_line_allowlisted"},
        {"path": "detect_secrets.filters.heuristic.is_sequential_string"},
        {"path": "detect_secrets.filters.heuristic.is_templated_secret"},
        {"path": "detect_secrets.filters.heuristic.is_indirect_reference"},
    ],
}  # fmt: skip
SKIPPED = (str(BASELINE), "package-lock.json", "static/vendor/", "requirements/")


def scanned() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [
        name for name in listed.stdout.split("\0") if name and not name.startswith(SKIPPED) and Path(name).is_file()
    ]


def findings(names: list[str]) -> SecretsCollection:
    found = SecretsCollection()
    for name in names:
        found.scan_file(name)
        if name.startswith("tests/"):  # the people of the tests have passwords, and nothing to protect
            found[name] = {secret for secret in found[name] if secret.type != "Secret Keyword"}
    return found


def main() -> int:
    with transient_settings(SETTINGS):
        found = findings(scanned())
        if sys.argv[1:] == ["--accept"]:
            baseline.save_to_file(found, str(BASELINE))
            print(f"{BASELINE} holds {len(list(found))} findings")
            return 0
        known = baseline.load(baseline.load_from_file(str(BASELINE))) if BASELINE.exists() else SecretsCollection()
        fresh = sorted(found - known, key=lambda pair: (pair[0], pair[1].line_number))
    for name, secret in fresh:
        print(f"{name}:{secret.line_number}: {secret.type}")
    if fresh:
        print("Take it out of the file. If it protects nothing: python scripts/secret_scan.py --accept")
        return 1
    print("no new secret")
    return 0


if __name__ == "__main__":
    sys.exit(main())
