"""The schema: migrations applied, roles without privileges, every wall in force."""

from typing import Any

from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from psycopg import Connection, errors

from config.doctor.findings import Finding, fail, ok, warn
from tenants.row_security import UNWALLED

_SHOWN = 5

_ROLES = """
SELECT rolname, rolsuper, rolbypassrls,
    EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid)
FROM pg_roles r WHERE rolname = ANY(%s)
"""


def check_migrations(lane: Connection[Any]) -> Finding:
    """Tell whether the schema is the code's."""
    try:
        rows = lane.execute("SELECT app, name FROM django_migrations").fetchall()
    except errors.UndefinedTable:
        rows = []
    wanted = set(MigrationLoader(None).disk_migrations)
    return judge_migrations(wanted, {(app, name) for app, name in rows})


def judge_migrations(
    wanted: set[tuple[str, str]], applied: set[tuple[str, str]]
) -> Finding:
    """Judge what is applied against what the code has."""
    code = "database.migrations"
    if missing := wanted - applied:
        return fail(
            code,
            f"not applied: {_some(f'{app}.{name}' for app, name in missing)}",
            "Run `manage.py migrate --database owner`; `up` does it by itself.",
        )
    apps = {app for app, _ in wanted}
    if unknown := {one for one in applied - wanted if one[0] in apps}:
        return warn(
            code,
            f"unknown here: {_some(f'{app}.{name}' for app, name in unknown)}",
            "The database is newer than this code: bring this machine up to date.",
        )
    return ok(code, f"{len(wanted)} applied")


def check_roles(lane: Connection[Any]) -> Finding:
    """Tell whether the two roles exist and can pass by no wall."""
    names = [settings.APP_ROLE, settings.PIPELINE_ROLE]
    found = {row[0]: row[1:] for row in lane.execute(_ROLES, [names]).fetchall()}
    wrong = [f"there is no {name}" for name in names if name not in found]
    for name, (is_super, bypasses, owns) in sorted(found.items()):
        wrong += [f"{name} is a superuser"] if is_super else []
        wrong += [f"{name} has BYPASSRLS"] if bypasses else []
        wrong += [f"{name} owns tables"] if owns else []
    if not wrong:
        return ok("database.roles", f"{' and '.join(names)} have no privileges")
    return fail(
        "database.roles",
        ", ".join(wrong),
        "Run the migrations; then ALTER ROLE … NOSUPERUSER NOBYPASSRLS, and give its "
        "tables to the owner.",
    )


def check_walls(lane: Connection[Any]) -> Finding:
    """Tell whether every tenant's table is walled by force."""
    open_tables = [name for (name,) in lane.execute(UNWALLED).fetchall()]
    if not open_tables:
        return ok("database.row_security", "every tenant's table is walled by force")
    return fail(
        "database.row_security",
        f"not walled: {_some(open_tables)}",
        "ALTER TABLE … ENABLE and FORCE ROW LEVEL SECURITY, with the policy that the "
        "migrations make; find out who took it off.",
    )


def _some(names: Any) -> str:
    ordered = sorted(names)
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
