#!/usr/bin/env python
import os
import sys

OF_A_FILE = {"detect", "forecast_file"}  # need nothing but the file: no server, no secret


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sieis_site.settings")
    if OF_A_FILE.intersection(sys.argv[1:2]):
        os.environ.setdefault("SIEIS_EMBEDDED", "1")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    try:
        try:
            execute_from_command_line(sys.argv)
        finally:
            sys.stdout.flush()
    except ImproperlyConfigured as error:
        if os.environ.get("SIEIS_DEBUG") == "1":
            raise
        sys.exit(str(error))
    except DatabaseError as error:
        if os.environ.get("SIEIS_DEBUG") == "1":
            raise
        said = str(error).strip().partition("\n")[0]
        sys.exit(f"The database cannot do this: {said}. manage.py migrate makes its tables, manage.py doctor looks.")
    except BrokenPipeError:  # whoever read the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        sys.exit(130)
