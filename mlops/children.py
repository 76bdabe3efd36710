"""A process of our own that must end when we do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

PATIENCE_S = 5.0  # between asking a process to end and ending it
KEPT_LINES = 2

# Set when the worker of this process stops: what it started must not outlive it.
STOPPING = threading.Event()


class Child:
    """A process that holds our end of a pipe as its stdin; what it says is kept for its obituary."""

    def __init__(self, command: Sequence[str], *, folder: Path) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(  # noqa: S603  (no part of it comes from outside)
            command, stdin=subprocess.PIPE, stdout=self._said, stderr=subprocess.STDOUT, cwd=folder
        )

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it still runs after that long."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        self._process.terminate()
        if self.wait(PATIENCE_S) is None:
            self._process.kill()
            self._process.wait()

    def said(self) -> list[str]:
        self._said.seek(0)
        return [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]

    def obituary(self) -> str:
        """How it ended and the last it said."""
        code = self._process.returncode
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = " / ".join(self.said()[-KEPT_LINES:])
        return f"The training process {how}: {last}" if last else f"The training process {how} and said nothing."

    def close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._said.close()


def end_with_parent() -> None:
    """In a child: leaves at once when the parent is gone, however it went, since only then the pipe ends."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
