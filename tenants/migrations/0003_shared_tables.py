"""The application's grants on Django's own tables, which belong to no tenant."""

from django.db import migrations

from tenants.row_security import grant_app

SHARED = """django_session, django_content_type, django_admin_log,
    auth_permission, auth_group, auth_group_permissions"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0002_roles_and_walls"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("sessions", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [
        migrations.RunSQL(
            grant_app(SHARED)
            + "GRANT SELECT ON django_migrations TO gridhook_app, gridhook_pipeline;",
            migrations.RunSQL.noop,
        )
    ]
