"""Mails to a tenant's admins, until they are sent."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import tenants.identifiers
from tenants.row_security import grant_app, grant_pipeline, wall

WALLS = "".join(
    (
        wall("tenants_mail"),
        grant_app("tenants_mail", "SELECT, INSERT"),
        grant_pipeline("tenants_mail", "SELECT, INSERT, UPDATE, DELETE"),
    )
)


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0004_tenant_rate_limit_per_s'),
    ]

    operations = [
        migrations.CreateModel(
            name='Mail',
            fields=[
                ('id', models.UUIDField(default=tenants.identifiers.new_id, editable=False, primary_key=True, serialize=False)),
                ('subject', models.CharField(max_length=200)),
                ('text', models.TextField()),
                ('status', models.CharField(choices=[('waiting', 'Waiting'), ('sent', 'Sent'), ('failed', 'Failed')], default='waiting', max_length=16)),
                ('recipients', django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), default=list, size=None)),
                ('attempt_count', models.PositiveSmallIntegerField(default=0)),
                ('next_attempt_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('claim_id', models.UUIDField(null=True)),
                ('last_error', models.CharField(blank=True, default='', max_length=500)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('finished_at', models.DateTimeField(null=True)),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('status', 'waiting')), fields=['next_attempt_at'], name='mail_due'), models.Index(condition=models.Q(('status', 'sent'), _negated=True), fields=['tenant'], name='mail_unsent')],
            },
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
    ]
