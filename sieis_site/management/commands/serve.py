"""The web process: builds the ASGI server itself, and with no server named runs everything else inside it."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from sieis_site.first_run import collect_static, days, prepare


class Command(BaseCommand):
    help = "Serves pages, API and live channel; in the embedded mode also the reading path, jobs and schedule."
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", help="Address to listen on (127.0.0.1; in server mode all)")
        parser.add_argument("--port", help="Port to listen on (PORT, else 8000)")
        parser.add_argument("--history-days", type=days, default=7.0, help="Days of simulated history of a new demo")

    def handle(self, *args: Any, **options: Any) -> None:
        port = _port(options["port"] or os.environ.get("PORT") or "8000")
        is_local = settings.SIEIS_DEMO or settings.SIEIS_EMBEDDED
        host = options["host"] or ("127.0.0.1" if is_local else "0.0.0.0")  # noqa: S104  (a container's own address)
        _refuse_open_demo(host)
        _refuse_taken(host, port)
        try:
            self._prepare(options["history_days"])
            self._serve(host, port)
        except KeyboardInterrupt:
            self.stdout.write("\nStopped before serving; what was finished is kept, the next start goes on from there.")

    def _prepare(self, history_days: float) -> None:
        if settings.SIEIS_EMBEDDED:
            prepare(history_days=history_days)
            return
        executor = MigrationExecutor(connections["default"])
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise CommandError(
                "The database lacks migrations of this version. Run: manage.py migrate && manage.py setup"
            )
        collect_static()

    def _serve(self, host: str, port: int) -> None:
        # Imported here: daphne.server installs its event loop for the whole process.
        from daphne.endpoints import build_endpoint_description_strings
        from daphne.server import twisted_loop

        from sensors import live
        from sieis_site.asgi import application
        from sieis_site.embedded import start_parts
        from sieis_site.web_server import PatientServer

        live.bind_loop(twisted_loop)
        parts = None

        def ready() -> None:
            nonlocal parts
            parts = start_parts()
            self._say_where(host, port)

        server = PatientServer(
            application=application,
            endpoints=build_endpoint_description_strings(host=host, port=port),
            ready_callable=ready,
            server_name="sieis",
            verbosity=1,
        )
        try:
            server.run()
        finally:
            if parts is not None:
                self.stdout.write("Stopping: saving what is in hand …")
                parts.close()
                self.stdout.write("Stopped. Nothing is lost; the next start goes on from here.")

    def _say_where(self, host: str, port: int) -> None:
        self.stdout.write(
            self.style.SUCCESS(f"\nSIEIS serves on http://{'localhost' if is_any(host) else host}:{port}/")
        )
        if settings.SIEIS_DEMO:
            names = "viewer, operator, engineer or admin"
            self.stdout.write(f"Log in as {names}; password: {settings.SIEIS_DEMO_PASSWORD}")
        self.stdout.write("Ctrl-C stops it cleanly.\n")
        self.stdout.flush()


def is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104


def _port(raw: str) -> int:
    if not raw.isdigit() or not 0 < int(raw) < 65536:
        raise CommandError(f"PORT is “{raw}”; expected a number from 1 to 65535")
    return int(raw)


def _refuse_open_demo(host: str) -> None:
    if settings.SIEIS_DEMO and settings.SIEIS_EMBEDDED and host not in ("127.0.0.1", "::1", "localhost"):
        raise CommandError(
            f"The demo has known passwords, so it listens on 127.0.0.1 only, not on {host}. "
            "Set SIEIS_DEMO=0 to serve others."
        )


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CommandError(
                    f"Port {port} is taken by another program; set another one: make run PORT={port + 1}"
                ) from None
            raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}") from None
