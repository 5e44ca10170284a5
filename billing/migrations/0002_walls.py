"""Walls, grants, and invoices that nobody can change."""

from django.db import migrations

from tenants.row_security import grant_app, grant_pipeline, use_sequences, wall

ADDED = ("account", "tariff", "tariffversion")
CHANGED = ("agreement", "billrun", "invoicecounter")
FROZEN = ("invoice", "invoiceline")

WALLS = "".join(
    (
        *(wall(f"billing_{table}") for table in (*ADDED, *CHANGED, *FROZEN)),
        # Nothing is ever deleted.
        *(grant_app(f"billing_{t}", "SELECT, INSERT") for t in (*ADDED, *FROZEN)),
        *(grant_app(f"billing_{t}", "SELECT, INSERT, UPDATE") for t in CHANGED),
        # The sweep looks for open runs in every tenant; the work is done in one.
        grant_pipeline("billing_billrun", "SELECT"),
        use_sequences(
            [
                "billing_account",
                "billing_tariff",
                "billing_tariffversion",
                "billing_agreement",
                "billing_invoiceline",
            ]
        ),
    )
)

FREEZE = "".join(
    f"""
    CREATE TRIGGER frozen BEFORE UPDATE OR DELETE ON billing_{table}
        FOR EACH ROW EXECUTE FUNCTION tenants_refuse_change();
    CREATE TRIGGER frozen_whole BEFORE TRUNCATE ON billing_{table}
        FOR EACH STATEMENT EXECUTE FUNCTION tenants_refuse_change();
    """
    for table in FROZEN
)
THAW = "".join(
    f"DROP TRIGGER frozen ON billing_{table};"
    f"DROP TRIGGER frozen_whole ON billing_{table};"
    for table in FROZEN
)


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("tenants", "0002_roles_and_walls")]
    operations = [
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.RunSQL(FREEZE, THAW),
    ]
