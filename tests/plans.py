"""The plans of statements, judged by tables whose state the test itself has made."""

from django.db import connections


def analyse(*tables: str) -> None:
    """
    Have the planner know these tables as they are now.

    What other tests left in them, and when autovacuum last came by, would else decide.
    """
    with connections["owner"].cursor() as owner:
        owner.execute(f"ANALYZE {', '.join(tables)}")


def forget_rows(table: str) -> None:
    """Have the planner believe that the table, whatever it holds, has no rows."""
    with connections["owner"].cursor() as owner:
        owner.execute(
            """SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', %s,
                'relpages', 9::int, 'reltuples', 0::real)""",
            [table],
        )
