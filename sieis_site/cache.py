"""The cache on Redis: what it keeps can be made again, so its absence stops no page and no request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import structlog
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import ConnectionError as NotThere
from redis.exceptions import TimeoutError as TooSlow

log = structlog.get_logger(__name__)
PAUSE_S = 5.0  # an address that swallows packets must not cost each request its time-out


class ForgetfulCache(RedisCache):
    """Remembers nothing while Redis is away: throttles let through, nobody gets a lock."""

    away_until: ClassVar[float] = 0.0  # of the process: each thread has a cache object of its own

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self.get_many([key], version).get(key, default)

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        return self._or({}, super().get_many, keys, version)

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._or(None, super().set, *args, **kwargs)

    def set_many(self, *args: Any, **kwargs: Any) -> Any:
        return self._or([], super().set_many, *args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self._or(False, super().add, *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._or(False, super().delete, *args, **kwargs)

    @classmethod
    def _or(cls, otherwise: Any, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() < cls.away_until:
            return otherwise
        try:
            return ask(*args, **kwargs)
        except (NotThere, TooSlow) as away:
            cls.away_until = time.monotonic() + PAUSE_S
            log.warning("cache_away", error=str(away), again_in_s=PAUSE_S)
            return otherwise
