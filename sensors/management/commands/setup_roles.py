"""manage.py setup_roles: the groups viewer, operator, engineer and administrator with their permissions."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from sensors.roles import ROLES, install_roles


class Command(BaseCommand):
    help = "Creates the roles (Django groups) and gives each the permissions it lacks; safe to run again."

    def handle(self, *args: Any, **options: Any) -> None:
        install_roles()
        self.stdout.write(f"Roles in place: {', '.join(ROLES)}. Put people into them in the admin, under Users.")
