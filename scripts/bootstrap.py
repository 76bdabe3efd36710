"""Makes .venv and installs the pinned requirements, when they changed or an earlier install did not finish.

    python3 scripts/bootstrap.py base    what `make run` needs
    python3 scripts/bootstrap.py dev     and what tests and checks need

Only the standard library, and only syntax that every Python since 2.7 parses: an old one shall get a sentence, not a
SyntaxError.
"""

from __future__ import print_function

import hashlib
import os
import shutil
import subprocess
import sys
import time

SUPPORTED = ((3, 11), (3, 12), (3, 13))
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
UNFINISHED = os.path.join(VENV, "sieis-unfinished")
LOG = os.path.join(VENV, "sieis-install.log")
FILES = {"base": ("base.txt", "constraints.txt"), "dev": ("base.txt", "dev.txt", "constraints.txt")}


def say(text):
    print("sieis: " + text)
    sys.stdout.flush()


def stop(text):
    sys.exit("sieis: " + text)


# ---- which Python ---------------------------------------------------------------------------------------------
def version_of(python):
    """(3, 12) of a program that runs, None of one that does not, such as a version manager's empty shim."""
    try:
        command = [python, "-c", "import sys; print('%d %d' % sys.version_info[:2])"]
        with open(os.devnull, "w") as nowhere:
            words = subprocess.check_output(command, stderr=nowhere).split()
        return int(words[0]), int(words[1])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None


def use_a_supported_python():
    """Goes on under a Python that SIEIS runs on, or says which one was found."""
    if sys.version_info[:2] in SUPPORTED:
        return
    for version in reversed(SUPPORTED):
        python = "python%d.%d" % version
        if version_of(python) == version:
            say("using %s, as this is Python %d.%d" % ((python,) + sys.version_info[:2]))
            os.execvp(python, [python] + sys.argv)
    stop(
        "SIEIS needs Python 3.11, 3.12 or 3.13; found %d.%d at %s and no other on the PATH. "
        "Install one of them, or name it: make PYTHON=/path/to/python3.12 ..."
        % (sys.version_info[:2] + (sys.executable,))
    )


def require_venv():
    """Debian splits the standard library: without its venv package there is no pip for a new environment."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        stop(
            "this Python (%s) lacks the module %s. On Debian and Ubuntu: sudo apt-get install python%d.%d-venv"
            % ((sys.executable, getattr(error, "name", None) or error) + sys.version_info[:2])
        )


# ---- what is installed ----------------------------------------------------------------------------------------
def fingerprint(kind):
    """Changes with the requirements of this kind."""
    digest = hashlib.sha256()
    for name in FILES[kind]:
        with open(os.path.join(ROOT, "requirements", name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def stamp(kind):
    return os.path.join(VENV, "sieis-" + kind)


def is_installed(kind):
    if os.path.exists(UNFINISHED) or not os.path.exists(PYTHON):
        return False
    try:
        with open(stamp(kind)) as file:
            return file.read() == fingerprint(kind)
    except (IOError, OSError):
        return False


def make_venv():
    """A usable .venv: a new one where there is none, or where an install was interrupted."""
    if os.path.exists(UNFINISHED):
        say("an earlier install did not finish: starting over")
        shutil.rmtree(VENV)
    elif os.path.lexists(VENV) and version_of(PYTHON) not in SUPPORTED:
        say("the Python of .venv is gone or not supported: starting over")
        shutil.rmtree(VENV)
    if not os.path.exists(VENV):
        require_venv()
        say("making a virtual environment in .venv (Python %d.%d)" % sys.version_info[:2])
        os.mkdir(VENV)
        open(UNFINISHED, "w").close()
        made = subprocess.Popen([sys.executable, "-m", "venv", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        words = made.communicate()[0].decode("utf-8", "replace").strip()
        if made.returncode:
            stop("the virtual environment could not be made:\n" + words)


def install(kind):
    """Runs pip and shows how far it is; stamps last, so that an interrupted install is noticed."""
    open(UNFINISHED, "w").close()
    requirements = os.path.join(ROOT, "requirements", kind + ".txt")
    constraints = os.path.join(ROOT, "requirements", "constraints.txt")
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["-r", requirements, "-c", constraints]
    say("installing requirements/%s.txt (log: .venv/sieis-install.log)" % kind)
    began_at = time.time()
    with open(LOG, "w") as log:
        pip = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            wait(pip, began_at)
        finally:
            if pip.poll() is None:
                pip.terminate()
                pip.wait()
    if pip.returncode:
        with open(LOG) as log:
            print("".join(log.readlines()[-12:]))
        stop("the packages could not be installed: see above, or all of it in %s; then run the same again" % LOG)
    for done in ("base", kind):
        with open(stamp(done), "w") as file:
            file.write(fingerprint(done))
    os.remove(UNFINISHED)
    say("installed in %d s" % (time.time() - began_at))


def wait(pip, began_at):
    """Until pip ends; in a terminal one line that moves, elsewhere a line every 10 seconds."""
    is_terminal, shown_at = sys.stdout.isatty(), began_at
    while pip.poll() is None:
        time.sleep(0.2)
        now = time.time()
        if now - shown_at >= (1 if is_terminal else 10):
            line = "sieis:   %s (%d s)" % (progress(), now - began_at)
            sys.stdout.write("\r%-78s" % line if is_terminal else line + "\n")
            sys.stdout.flush()
            shown_at = now
    if is_terminal and shown_at > began_at:
        sys.stdout.write("\r%78s\r" % "")


def progress():
    with open(LOG) as log:
        lines = log.readlines()
    if any(line.startswith("Installing collected packages") for line in lines):
        return "%d packages are there, unpacking them" % found(lines)
    return "%d packages found" % found(lines)


def found(lines):
    return sum(line.startswith(("Collecting ", "Requirement already satisfied")) for line in lines)


# ---- one at a time --------------------------------------------------------------------------------------------
def lock():
    """Held until this process ends: `make run` and `make test` at once must not install into each other."""
    import fcntl

    folder = os.open(os.path.join(ROOT, "requirements"), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (IOError, OSError):
        say("waiting for another install in this folder")
        fcntl.flock(folder, fcntl.LOCK_EX)


def main():
    kind = sys.argv[1] if len(sys.argv) == 2 else ""
    if kind not in FILES:
        stop("say `bootstrap.py base` or `bootstrap.py dev`")
    if is_installed(kind):
        return
    use_a_supported_python()
    try:
        lock()
        if not is_installed(kind):
            make_venv()
            install(kind)
    except (IOError, OSError) as error:
        stop("%s cannot be written (%s); this folder must be yours" % (error.filename or VENV, error.strerror))
    except KeyboardInterrupt:
        stop("interrupted; the next run starts the install over")


if __name__ == "__main__":
    main()
