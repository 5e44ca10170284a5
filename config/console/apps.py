"""Django's admin app, with the console as its site."""

from django.contrib.admin.apps import AdminConfig


class ConsoleAdminConfig(AdminConfig):
    """Makes `admin.site` the console."""

    default_site = "tenants.console.site.ConsoleSite"
