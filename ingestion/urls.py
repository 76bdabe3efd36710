"""Every address of the pages."""

from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.urls import path
from django.views.generic import TemplateView

from ingestion import (
    alert_page,
    alerts_page,
    books_page,
    detect_page,
    device_pages,
    import_pages,
    mote_pages,
    profile_pages,
    quarantine_pages,
    report_pages,
    retention_page,
    views,
    watch_urls,
)

urlpatterns = [
    *watch_urls.urlpatterns,
    path("", views.live, name="live"),
    path("live/trails", views.trails, name="trails"),
    path("motes/", mote_pages.motes, name="motes"),
    path("motes/state", mote_pages.change_states, name="motes-state"),
    path("motes/<slug:site>/<str:code>/", mote_pages.mote, name="mote"),
    path("devices/", device_pages.devices, name="devices"),
    path("history/", views.history, name="history"),
    path("insights/", views.insights, name="insights"),
    path("alerts/", alerts_page.inbox, name="alerts"),
    path("alerts/figures/", alerts_page.figures_page, name="alerts-figures"),
    path("alerts/<int:pk>/", alert_page.alert, name="alert"),
    path("system/", views.system, name="system"),
    path("quality/", views.quality, name="quality"),
    path("quality/books/", books_page.all_hours, name="books"),
    path("quality/books/reconcile", books_page.reconcile, name="books-reconcile"),
    path("quality/books/<slug:profile>/<str:at>/", books_page.hour, name="books-hour"),
    path("quality/reports/", report_pages.all_reports, name="reports"),
    path("quality/reports/<int:pk>/", report_pages.report, name="report"),
    path("quality/reports/<int:pk>/readings", report_pages.report_readings, name="report-readings"),
    path("quality/retention/", retention_page.retention_page, name="retention"),
    path("imports/", import_pages.imports, name="imports"),
    path("imports/<int:pk>/", import_pages.one_import, name="import"),
    path("quarantine/", quarantine_pages.quarantine, name="quarantine"),
    path("quarantine/settle", quarantine_pages.settle, name="quarantine-settle"),
    path("quarantine/adopt/", quarantine_pages.adopt, name="quarantine-adopt"),
    path("quarantine/<int:pk>/", quarantine_pages.message, name="quarantine-message"),
    path("detect/", detect_page.detect, name="detect"),
    path("detect/<int:pk>/", detect_page.detect_run, name="detect-run"),
    path("detect/<int:pk>/<str:name>", detect_page.detect_result, name="detect-result"),
    path("models/", views.models, name="models"),
    path("profiles/", profile_pages.profiles, name="profiles"),
    path("profiles/<slug:code>/", profile_pages.profile, name="profile"),
    path("profiles/<slug:code>/pack.toml", profile_pages.profile_pack, name="profile-pack"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", auth.LogoutView.as_view(next_page="logged_out"), name="logout"),
    path(
        "logged-out/",
        login_not_required(TemplateView.as_view(template_name="registration/logged_out.html")),
        name="logged_out",
    ),
    path("password/", auth.PasswordChangeView.as_view(), name="password_change"),
    path("password/done/", auth.PasswordChangeDoneView.as_view(), name="password_change_done"),
]
