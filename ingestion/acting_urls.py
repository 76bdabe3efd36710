"""The pages about what alerts are made of and who hears of them: rules, silences, incidents, notifications."""

from django.urls import path

from ingestion import notifications_page, silences_page

urlpatterns = [
    path("alerts/silences/", silences_page.silences, name="silences"),
    path("alerts/notifications/", notifications_page.notifications, name="notifications"),
]
