"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path

from ingestion.api.health_api import HealthView, metrics_page
from mlops.ml_urls import smoke_urlpatterns
from sieis_site.docs import Docs

handler500 = "sieis_site.troubles.failed"
admin.autodiscover()
urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("ingestion.pages.urls")),
    path("", include("ingestion.pages.acting_urls")),
    path("api/v1/", include("sieis_site.api_urls")),
    path("docs", Docs.as_view(), name="docs"),
    *smoke_urlpatterns,
    path("health", HealthView.as_view(schema=None), name="health"),
    path("metrics", metrics_page, name="metrics"),
]
