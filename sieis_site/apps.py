from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "sieis_site"
    verbose_name = "SIEIS"

    def ready(self) -> None:
        from sieis_site import checks  # noqa: F401  (registers the system checks)
