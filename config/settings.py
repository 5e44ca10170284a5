"""
Every setting of Gridhook, read once from the environment.

Each is `NAME` or `NAME_FILE`; docs/reference/settings.md has a line for each, and
`config/checks.py` says what is wrong with one and what to do about it.
"""

from logging import LogRecord
from typing import Any

from django.urls import reverse_lazy
from psycopg.conninfo import conninfo_to_dict

from config import environment as env

VERSION = "0.1.0"
BASE_DIR = env.ROOT
VAR = env.var_directory()

# --- Secrets -----------------------------------------------------------------
SECRET_KEY = env.stored_key("GRIDHOOK_SECRET_KEY", "secret_key")
#: `id:base64 key of 32 bytes`, comma-separated; the first one encrypts.
ENCRYPTION_KEYS = env.stored_key("GRIDHOOK_ENCRYPTION_KEYS", "encryption_keys")

# --- Addresses ---------------------------------------------------------------
BIND = env.text("GRIDHOOK_BIND", "127.0.0.1")
LISTENER_PORT = env.integer("GRIDHOOK_LISTENER_PORT", 8080)
CONSOLE_PORT = env.integer("GRIDHOOK_CONSOLE_PORT", 8000)
TLS_CERT = env.text("GRIDHOOK_TLS_CERT")
TLS_KEY = env.text("GRIDHOOK_TLS_KEY")
_SCHEME = "https" if TLS_CERT else "http"
#: What devices are told to call; set it when a proxy stands in front.
LISTENER_URL = env.text("GRIDHOOK_LISTENER_URL", f"{_SCHEME}://{BIND}:{LISTENER_PORT}")
CONSOLE_URL = env.text("GRIDHOOK_CONSOLE_URL", f"http://{BIND}:{CONSOLE_PORT}")
ALLOWED_HOSTS = env.items("GRIDHOOK_ALLOWED_HOSTS", f"{BIND},localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = [CONSOLE_URL]
TRUSTED_PROXIES = env.items("GRIDHOOK_TRUSTED_PROXIES")
CALLBACK_ALLOW_CIDRS = env.items("GRIDHOOK_CALLBACK_ALLOW_CIDRS")
#: Where those networks are left, the ports that callback URLs may name.
CALLBACK_PORTS = [
    int(port) for port in env.numbers("GRIDHOOK_CALLBACK_PORTS", "443,8443")
]

# --- Bounds ------------------------------------------------------------------
BODY_LIMIT_BYTES = 10 * 1024 * 1024
#: Bodies that one listener process may hold before it answers 503.
LISTENER_INFLIGHT_BYTES = env.integer("GRIDHOOK_INFLIGHT_BYTES", 64 * 1024 * 1024)
#: Callbacks that one listener process may hold before it answers 503.
LISTENER_QUEUE_LENGTH = env.integer("GRIDHOOK_QUEUE_LENGTH", 4096)
#: Callbacks that are committed together at most.
LISTENER_BATCH_SIZE = env.integer("GRIDHOOK_BATCH_SIZE", 256)
#: Seconds that a device waits at most before it is told 503.
LISTENER_DEADLINE_S = env.integer("GRIDHOOK_LISTENER_DEADLINE_S", 4)
#: Seconds for which a listener that was told to end says so and still serves.
DRAIN_S = env.integer("GRIDHOOK_DRAIN_S", 5)
#: Serve although a crash of Postgres could lose what was acknowledged: for the test
#: that shows it does.
ALLOW_UNSAFE_COMMIT = env.text("GRIDHOOK_ALLOW_UNSAFE_COMMIT") == "1"
PROCESSING_BATCH_SIZE = env.integer("GRIDHOOK_PROCESSING_BATCH_SIZE", 500)
BODY_RETENTION_DAYS = env.integer("GRIDHOOK_BODY_RETENTION_DAYS", 90)
#: How long a transaction id is known.
LEDGER_RETENTION_DAYS = env.integer("GRIDHOOK_LEDGER_RETENTION_DAYS", 400)
#: How long readings are kept; 0: for ever.
READING_RETENTION_MONTHS = env.integer("GRIDHOOK_READING_RETENTION_MONTHS", 0)

# --- Delivery ----------------------------------------------------------------
_SCHEDULE = "5,300,1800,7200,18000,36000,50400,72000,86400"
RETRY_SCHEDULE_S = env.numbers("GRIDHOOK_RETRY_SCHEDULE_S", _SCHEDULE)
DELIVERY_TIMEOUT_S = 15
DELIVERY_LEASE_S = env.integer("GRIDHOOK_DELIVERY_LEASE_S", 60)
#: For how long a receiver's consent holds; it is renewed before its end.
CONSENT_LEASE_DAYS = env.integer("GRIDHOOK_CONSENT_LEASE_DAYS", 30)
RESPONSE_LIMIT_BYTES = 64 * 1024
#: The largest part of a receiver's reply that the attempt log keeps.
RESPONSE_EXCERPT_BYTES = 2048

#: How long messages, deliveries and attempts are kept.
MESSAGE_RETENTION_DAYS = env.integer("GRIDHOOK_MESSAGE_RETENTION_DAYS", 400)

# --- Mail --------------------------------------------------------------------
#: `smtp://user:password@host:587?starttls=1` or `smtps://…`; empty: mails wait.
SMTP_URL = env.text("GRIDHOOK_SMTP_URL")
MAIL_FROM = env.text("GRIDHOOK_MAIL_FROM", "Gridhook <gridhook@localhost>")

# --- Database ----------------------------------------------------------------
DATABASE_URL = env.text("DATABASE_URL") or env.running_server("database_url")
APP_ROLE = "gridhook_app"
PIPELINE_ROLE = "gridhook_pipeline"
_GUARDS = (
    "-c lock_timeout=5s -c statement_timeout=30s "
    "-c idle_in_transaction_session_timeout=60s -c jit=off"
)


#: A database that is gone without a word is given up in half a minute, not in hours.
DATABASE_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


def _connection(*, options: str, **extra: Any) -> dict[str, Any]:
    parts: dict[str, Any] = conninfo_to_dict(DATABASE_URL) if DATABASE_URL else {}
    given = parts.pop("options", "")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname", "gridhook"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "OPTIONS": {
            "options": f"{given} {options}".strip(),
            **DATABASE_PATIENCE,
            **parts,
        },
        "CONN_HEALTH_CHECKS": True,
        **extra,
    }


#: `default` is the application's role, walled by row-level security; `owner` is for
#: migrations alone. Listener and workers take the pipeline role through
#: `tenants.database.pipeline`.
DATABASES = {
    "default": _connection(options=f"-c role={APP_ROLE} {_GUARDS}", CONN_MAX_AGE=60),
    "owner": _connection(options=""),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Background work ---------------------------------------------------------
BROKER_URL = (
    env.text("BROKER_URL")
    or env.running_server("broker_url")
    or "redis://127.0.0.1:6379/0"
)
REDIS_SCHEMES = ("redis://", "rediss://", "redis+socket://", "unix://")
#: The Redis in which all listeners count together; empty: each counts for itself.
RATE_LIMIT_URL = env.text(
    "GRIDHOOK_RATE_LIMIT_URL",
    BROKER_URL if BROKER_URL.startswith(REDIS_SCHEMES) else "",
)
#: Seconds between the sweeps that find work whose bell was lost.
SWEEP_INTERVAL_S = env.integer("GRIDHOOK_SWEEP_INTERVAL_S", 5)

# --- Django ------------------------------------------------------------------
DEBUG = False
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
AUTH_USER_MODEL = "tenants.User"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = ["config.formats"]
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
LOGIN_URL = reverse_lazy("admin:login")
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
IS_CONSOLE_BEHIND_TLS = CONSOLE_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_CONSOLE_BEHIND_TLS
X_FRAME_OPTIONS = "DENY"
#: Seconds for which browsers that came by TLS come by nothing else; 0: it is not said.
HSTS_S = env.integer("GRIDHOOK_HSTS_S", 0)
#: The counts of limits on pages, in the console's one process. The backend's own 300
#: are soon somebody's who wants others' counts forgotten.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024

INSTALLED_APPS = [
    "config",
    "billing",
    "ingest",
    "subscriptions",
    "tenants",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "config.console.apps.ConsoleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "tenants.middleware.TransportPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "tenants.middleware.PagePolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "tenants.middleware.SlashMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tenants.middleware.TenantMiddleware",
    "tenants.idempotency.IdempotencyMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenants.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.permissions.RolePermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["tenants.parsers.BoundedJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "tenants.pagination.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tenants.api_errors.problem_response",
    "PAGE_SIZE": 50,
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Gridhook API",
    "VERSION": "1",
    "DESCRIPTION": "Sources, callbacks, usage, endpoints, deliveries and bills.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "tenants.openapi.describe_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        f"{name}Enum": f"subscriptions.models.{name}"
        for name in (
            "EndpointStatus",
            "DeliveryStatus",
            "RedeliveryKind",
            "RedeliveryStatus",
        )
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}


def _as_one_line(record: LogRecord) -> bool:
    """Drop the traceback: what a caller did wrong was done by no code here."""
    record.exc_info = None
    return True


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "class": "config.log_lines.Formatter",
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        }
    },
    "filters": {
        "line": {"()": "django.utils.log.CallbackFilter", "callback": _as_one_line}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {
        "handlers": ["stderr"],
        "level": env.text("GRIDHOOK_LOG_LEVEL", "WARNING"),
    },
    "loggers": {
        f"django.security.{name}": {"filters": ["line"]}
        for name in ("DisallowedHost", "DisallowedRedirect", "RequestDataTooBig")
    },
}
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Gridhook",
    "SITE_HEADER": "Gridhook",
    "SITE_SUBHEADER": "config.console.navigation.tenant_name",
    "SITE_SYMBOL": "bolt",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": f"{STATIC_URL}console/icon.svg",
        }
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [f"{STATIC_URL}console/console.css?v={VERSION}"],
    "SCRIPTS": [f"{STATIC_URL}console/console.js?v={VERSION}"],
    "DASHBOARD_CALLBACK": "config.console.dashboard.dashboard",
    "SIDEBAR": {"navigation": "config.console.navigation.navigation"},
    "COLORS": {
        "primary": {
            "50": "oklch(97.5% .012 235)",
            "100": "oklch(94.5% .025 235)",
            "200": "oklch(89% .05 236)",
            "300": "oklch(81% .09 237)",
            "400": "oklch(71% .125 240)",
            "500": "oklch(61% .14 243)",
            "600": "oklch(52% .14 246)",
            "700": "oklch(45% .125 247)",
            "800": "oklch(39% .1 248)",
            "900": "oklch(34% .08 249)",
            "950": "oklch(26% .06 250)",
        }
    },
}
