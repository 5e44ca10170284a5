"""How listener and workers connect."""

from typing import Any

from psycopg.conninfo import conninfo_to_dict

from tenants.database import pipeline_conninfo


def test_a_database_that_is_gone_without_a_word_is_given_up(settings: Any) -> None:
    settings.DATABASE_URL = "postgresql://owner@db.example/gridhook?keepalives_idle=60"
    parts = conninfo_to_dict(pipeline_conninfo())
    assert parts["host"] == "db.example"
    assert (parts["connect_timeout"], parts["tcp_user_timeout"]) == ("5", "30000")
    # What the URL says counts.
    assert (parts["keepalives_idle"], parts["keepalives_interval"]) == ("60", "5")
