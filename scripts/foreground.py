"""Runs a command as the terminal's foreground job, so that Ctrl-C reaches it alone and `make` has nothing to report.

make is told of a Ctrl-C like everybody in the foreground, and answers it with an error of its own however cleanly its
child ended. A shell keeps jobs apart by process groups; this is the smallest such shell.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType


def terminal() -> int | None:
    """The terminal whose foreground we are in, if any."""
    try:
        tty = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    return tty if os.tcgetpgrp(tty) == os.getpgrp() else None


def main(command: list[str]) -> int:
    tty = terminal()
    if tty is None:
        os.execvp(command[0], command)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # giving the terminal away and taking it back is meant
    child = subprocess.Popen(command, process_group=0)

    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(child.pid, number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, pass_on)
    while True:
        os.tcsetpgrp(tty, child.pid)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        os.tcsetpgrp(tty, os.getpgrp())
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        os.killpg(0, signal.SIGSTOP)  # Ctrl-Z stops make as well; after `fg` all of it goes on
        os.killpg(child.pid, signal.SIGCONT)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
