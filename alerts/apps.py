from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "alerts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from alerts import changes
        from alerts.notifying.outbox import follow_changes
        from alerts.services import follow_state
        from sensors.services import state_followers

        if follow_state not in state_followers:
            state_followers.append(follow_state)
        if follow_changes not in changes.followers:
            changes.followers.append(follow_changes)
