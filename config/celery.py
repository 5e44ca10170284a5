"""Celery: the doorbell's other end, and the clock of the sweeps."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

#: Of sweeps that are to come however busy the workers are: a long pause of these is
#: taken for one of the platform.
EXPIRES_S = {"ingest.find_silent": 60.0}

app = Celery("gridhook")
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
    },
    task_ignore_result=True,
    task_default_queue="ingest",
    task_create_missing_queues=True,
    task_routes={
        "ingest.*": {"queue": "ingest"},
        "billing.*": {"queue": "billing"},
        "subscriptions.deliver": {"queue": "deliver"},
        # What waits for slow servers, or takes its time over many rows: beside the
        # deliveries, not among them.
        "subscriptions.*": {"queue": "upkeep"},
        "tenants.*": {"queue": "upkeep"},
    },
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    task_publish_retry=False,
    timezone="UTC",
    beat_schedule_filename=str(settings.VAR / "run" / "beat-schedule"),
    #: The sweeps: each finds the work whose bell was lost.
    beat_schedule={
        task: {
            "task": task,
            "schedule": float(every_s),
            "options": {"expires": EXPIRES_S.get(task, float(every_s))},
        }
        for task, every_s in (
            ("ingest.process", settings.SWEEP_INTERVAL_S),
            ("ingest.recompute_usage", settings.SWEEP_INTERVAL_S),
            ("ingest.find_silent", settings.SWEEP_INTERVAL_S),
            ("subscriptions.deliver", settings.SWEEP_INTERVAL_S),
            ("subscriptions.ask_consent", settings.SWEEP_INTERVAL_S),
            ("subscriptions.fetch_tokens", settings.SWEEP_INTERVAL_S),
            ("subscriptions.redeliver", settings.SWEEP_INTERVAL_S),
            ("subscriptions.release_stuck", 60),
            ("subscriptions.cancel_orphans", 60),
            ("billing.run_bills", settings.SWEEP_INTERVAL_S),
            ("ingest.maintain_partitions", 3600),
            ("subscriptions.maintain", 3600),
            ("subscriptions.send_manifests", 60),
            ("tenants.send_mail", 30),
            ("tenants.seal_audit", 300),
        )
    },
)
app.autodiscover_tasks(["ingest", "subscriptions", "billing", "tenants"])
