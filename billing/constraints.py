"""Which database constraint a refused write broke."""

from django.db import IntegrityError
from psycopg import errors


def broken_constraint(error: IntegrityError) -> str:
    """Return the constraint's name; empty: Postgres named none."""
    cause = error.__cause__
    if not isinstance(cause, errors.IntegrityError):
        return ""
    return cause.diag.constraint_name or ""
