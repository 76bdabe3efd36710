"""The addresses of the pages that watch models."""

from django.urls import path

from ingestion import drift_page, retraining_page

urlpatterns = [
    path("models/watch/", retraining_page.watching, name="watching"),
    path("models/watch/policy/<slug:code>", retraining_page.change_policy, name="watching-policy"),
    path("models/drift/", drift_page.drift, name="drift"),
    path("models/compare/<path:name>/", retraining_page.comparison, name="comparison"),
]
