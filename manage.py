#!/usr/bin/env python
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sieis_site.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        if os.environ.get("SIEIS_DEBUG") == "1":
            raise
        sys.exit(str(error))
    except DatabaseError as error:
        if os.environ.get("SIEIS_DEBUG") == "1":
            raise
        said = str(error).strip().partition("\n")[0]
        sys.exit(f"The database cannot do this: {said}. manage.py migrate makes its tables, manage.py doctor looks.")


if __name__ == "__main__":
    main()
