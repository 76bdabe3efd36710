"""The one entry point: pages and API over HTTP, the live channel over websocket."""

import gc
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sieis_site.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import get_resolver, path

from sensors.consumers import LiveConsumer
from sensors.event_stream import EventStream

application = ProtocolTypeRouter(
    {
        "http": EventStream(http),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("ws/live/", LiveConsumer.as_asgi())]))
        ),
    }
)

_ = get_resolver().url_patterns  # every page's modules now, so that the first visitor does not wait for them
# All that is loaded stays: each full collection would look through its 350,000 objects (gc.get_freeze_count) again.
gc.collect()
gc.freeze()
