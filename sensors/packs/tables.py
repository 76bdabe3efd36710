"""Reading a TOML table strictly: what is missing, of a wrong type or unknown is refused with its line. Pure."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sensors.packs import lines


class BadPack(Exception):
    """A pack that cannot be used; the text names file, line and value for the person who wrote it."""

    def __init__(self, words: str, line: int | None = None) -> None:
        super().__init__(words)
        self.line = line


class Table:
    """A table being read: each key is asked for once, and what nobody asked for is refused."""

    def __init__(self, content: dict[str, Any], path: lines.Path, source: str, found: dict[lines.Path, int]) -> None:
        self.content = content
        self.path = path
        self.source = source
        self.found = found
        self.asked: list[str] = []

    @property
    def name(self) -> str:
        return ".".join(str(part + 1) if isinstance(part, int) else part for part in self.path) or "the file"

    def wrong(self, key: str, words: str) -> NoReturn:
        places = ((*self.path, key), self.path, self.path[:1])
        line = next((self.found[path] for path in places if path in self.found), 1)
        raise BadPack(f"{self.source}:{line}: {words}", line)

    def take(self, key: str, expected: str, accepts: Callable[[Any], bool], default: Any = ...) -> Any:
        self.asked.append(key)
        if key not in self.content:
            if default is ...:
                self.wrong(key, f"{self.name} has no “{key}”; expected {expected}{self._meant(key)}")
            return default
        value = self.content[key]
        if not accepts(value):
            self.wrong(
                key, f"{self.name}: {key} is {json.dumps(value, ensure_ascii=False, default=str)}; expected {expected}"
            )
        return value

    def _meant(self, key: str) -> str:
        """A key that is there and looks like the one that is not."""
        for near in difflib.get_close_matches(key, self.content.keys() - set(self.asked), n=1):
            return f"; “{near}” in line {self.found[(*self.path, near)]} looks like it"
        return ""

    def truth(self, key: str, default: bool) -> bool:
        return bool(self.take(key, "true or false", lambda v: isinstance(v, bool), default))

    def text(self, key: str, default: Any = ..., *, among: Iterable[str] | None = None) -> str:
        choices = tuple(among or ())
        expected = f"one of {', '.join(choices)}" if choices else "text in quotes"
        return str(
            self.take(key, expected, lambda v: isinstance(v, str) and (v in choices if choices else bool(v)), default)
        )

    def code(self, key: str, pattern: re.Pattern[str], expected: str) -> str:
        return str(self.take(key, expected, lambda v: isinstance(v, str) and bool(pattern.fullmatch(v))))

    def number(
        self,
        key: str,
        default: Any = ...,
        *,
        above: float = -math.inf,
        at_least: float = -math.inf,
        to: float = math.inf,
    ) -> Any:
        borders = [
            f"{word} {limit:g}"
            for word, limit in (("above", above), ("from", at_least), ("up to", to))
            if math.isfinite(limit)
        ]
        expected = " ".join(["a number", *borders])
        value = self.take(key, expected, lambda v: is_number(v) and v > above and at_least <= v <= to, default)
        return float(value) if is_number(value) else value

    def share(self, key: str, default: float) -> float:
        value = self.take(key, "a share from 0 to 0.5", lambda v: is_number(v) and 0 <= v <= 0.5, default)
        return float(value)

    def span(self, key: str, default: Any = ..., *, within: tuple[float, float] | None = None) -> Any:
        expected = "[low, high] with low below high"
        value = self.take(key, expected, lambda v: are_numbers(v, 2) and v[0] < v[1], default)
        if value is default:
            return default
        low, high = float(value[0]), float(value[1])
        if within and not within[0] <= low < high <= within[1]:
            self.wrong(key, f"{self.name}: {key} [{low:g}, {high:g}] reaches beyond [{within[0]:g}, {within[1]:g}]")
        return low, high

    def texts(self, key: str, default: Any = ()) -> tuple[str, ...]:
        return tuple(
            self.take(
                key, "a list of texts", lambda v: isinstance(v, list) and all(isinstance(i, str) and i for i in v),
                default,
            )
        )  # fmt: skip

    def table(self, key: str, *, needed: bool = False) -> Table | None:
        content = self.take(key, f"a table [{key}]", lambda v: isinstance(v, dict), ... if needed else None)
        return None if content is None else Table(content, (*self.path, key), self.source, self.found)

    def tables(self, key: str, *, needed: bool = False) -> list[Table]:
        content = self.take(
            key,
            f"tables such as [[{key}]]",
            lambda v: isinstance(v, list) and all(isinstance(item, dict) for item in v),
            ... if needed else [],
        )
        return [Table(item, (*self.path, key, i), self.source, self.found) for i, item in enumerate(content)]

    def finish(self) -> None:
        for key in self.content:
            if key not in self.asked:
                near = difflib.get_close_matches(key, self.asked, n=1)
                hint = f"did you mean “{near[0]}”?" if near else f"known here: {', '.join(sorted(self.asked))}"
                self.wrong(key, f"{self.name} has an unknown key “{key}”; {hint}")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def are_numbers(value: Any, n: int) -> bool:
    return isinstance(value, list) and len(value) == n and all(map(is_number, value))
