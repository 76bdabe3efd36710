"""Fails when a pinned package has a known vulnerability; says so where no index of vulnerabilities answers."""

from __future__ import annotations

import json
import subprocess
import sys

# id: why it cannot be mended yet and why it does not touch us
ACCEPTED: dict[str, str] = {}
COMMAND = [
    sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off",
    "--timeout", "10", "-r", "requirements/constraints.txt",
    *(word for name in ACCEPTED for word in ("--ignore-vuln", name)),
]  # fmt: skip


def main() -> int:
    try:
        ran = subprocess.run(COMMAND, capture_output=True, text=True, timeout=300)
        packages = json.loads(ran.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        print("NOT AUDITED: no index of vulnerabilities answers here")
        return 0
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print("NOT AUDITED: no index of vulnerabilities knows these packages here")
        return 0
    for package in audited:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    n_found = sum(len(package["vulns"]) for package in audited)
    print(f"{len(audited)} of {len(packages)} packages audited, {n_found} vulnerabilities, {len(ACCEPTED)} accepted")
    return 1 if n_found else 0


if __name__ == "__main__":
    sys.exit(main())
