"""The pages about what alerts are made of and who hears of them: rules, silences, incidents, notifications."""

from django.urls import path

from ingestion.pages import incidents_page, notifications_page, rules_page, silences_page

urlpatterns = [
    path("alerts/incidents/", incidents_page.incidents, name="incidents"),
    path("alerts/incidents/<int:pk>/", incidents_page.incident, name="incident"),
    path("alerts/rules/", rules_page.rules, name="rules"),
    path("alerts/rules/new/", rules_page.rule, name="rule-new"),
    path("alerts/rules/<int:pk>/", rules_page.rule, name="rule"),
    path("alerts/silences/", silences_page.silences, name="silences"),
    path("alerts/notifications/", notifications_page.notifications, name="notifications"),
]
