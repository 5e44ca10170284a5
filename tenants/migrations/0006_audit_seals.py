"""Stretches of the audit trail that are fixed, so that a change of it is found."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import tenants.identifiers
from tenants.row_security import grant_app, wall

# `reseal` changes the seal, under a new key; nothing changes what is sealed.
WALLS = "".join(
    (
        wall("tenants_auditseal"),
        grant_app("tenants_auditseal", "SELECT, INSERT, UPDATE (sealed)"),
    )
)

APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE DELETE ON tenants_auditseal
    FOR EACH ROW EXECUTE FUNCTION tenants_refuse_change();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON tenants_auditseal
    FOR EACH STATEMENT EXECUTE FUNCTION tenants_refuse_change();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0005_mail'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditSeal',
            fields=[
                ('id', models.UUIDField(default=tenants.identifiers.new_id, editable=False, primary_key=True, serialize=False)),
                ('sequence', models.PositiveIntegerField()),
                ('until_at', models.DateTimeField()),
                ('entries', models.BinaryField()),
                ('sealed', models.BinaryField()),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant', 'sequence'), name='audit_seal_sequence_unique')],
            },
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.RunSQL(APPEND_ONLY, migrations.RunSQL.noop),
    ]
