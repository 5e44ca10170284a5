#!/usr/bin/env python
"""The command line of Gridhook: `python manage.py help` lists what it can do."""

import os
import sys


def main() -> None:
    """Run one command; a wrong setting is one clear line, not a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, OperationalError) as error:
        sys.exit(f"gridhook: {str(error).strip()}")


if __name__ == "__main__":
    main()
