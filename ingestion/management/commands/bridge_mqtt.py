"""manage.py bridge_mqtt: takes readings from an MQTT broker."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.bridges.keys import Keys
from ingestion.bridges.mqtt import BadAddress, Bridge, Broker
from ingestion.bridges.topics import BadTemplate, Template
from ingestion.management.commands.simulate import stopper
from ingestion.streams import StreamClosed, stream
from sensors import registry


class Command(BaseCommand):
    help = "Takes the readings that motes send to an MQTT broker, until SIGTERM. Nothing is lost while it is away."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--broker", metavar="URL", help="mqtt://host:1883 or mqtts://user:password@host:8883 (default: MQTT_URL)")
        add(
            "--topic", default="sieis/{site}/{mote}", metavar="TEMPLATE",
            help="Which topics, and what their levels mean: {site}, {mote}, {channel} (default sieis/{site}/{mote})",
        )  # fmt: skip
        add(
            "--client-id", default="sieis-bridge", metavar="ID",
            help="Names the session in which the broker keeps messages while the bridge is away (default sieis-bridge)",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        address = options["broker"] or settings.MQTT_URL
        if not address:
            raise CommandError("No broker: set MQTT_URL or give --broker mqtt://host:1883")
        try:
            bridge = Bridge(
                broker=Broker.at(address), template=Template.of(options["topic"]), client_id=options["client_id"],
                stream=stream("readings"), key_of=Keys(registry.current_fleet, registry.revision), now=timezone.now,
                tell=self.stderr.write,
            )  # fmt: skip
        except (BadAddress, BadTemplate) as wrong:
            raise CommandError(str(wrong)) from None
        stop = threading.Event()
        previous = {number: signal.signal(number, stopper(stop)) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            done = bridge.run(stop)
        except StreamClosed as reason:
            raise CommandError(str(reason)) from None
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        self.stdout.write(f"{done.messages:,} messages brought to “{bridge.stream.topic}”.")
