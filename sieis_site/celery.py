"""The Celery application: its tasks live in the apps, its schedule in the database."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sieis_site.settings")

app = Celery("sieis")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
