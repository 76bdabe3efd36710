"""Where in a TOML text each key stands, so that an error can name its line. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

Path = tuple[str | int, ...]

WORD = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*|\n|[\[\]{}=,]|[^\s\[\]{}=,#\"']+",
    re.DOTALL,
)


def line_numbers(text: str) -> dict[Path, int]:
    """The line of every key, table and array item of a text that tomllib has already accepted.

    >>> line_numbers('[a]\\nb = 1\\nc = [\\n  {d = 2},\\n]')[("a", "c", 0, "d")]
    4
    """
    return _Scan(list(_words(text))).lines()


def _words(text: str) -> Iterator[tuple[str, int]]:
    line = 1
    for match in WORD.finditer(text):
        word = match.group()
        if not word.startswith("#"):
            yield word, line
        line += word.count("\n")


@dataclass(slots=True)
class _Scan:
    words: list[tuple[str, int]]
    place: int = 0
    found: dict[Path, int] = field(default_factory=dict)
    sizes: dict[Path, int] = field(default_factory=dict)

    def lines(self) -> dict[Path, int]:
        table: Path = ()
        while self.place < len(self.words):
            word = self._peek()
            if word == "\n":
                self.place += 1
            elif word == "[":
                table = self._header()
            else:
                self._pair(table)
        return self.found

    def _peek(self) -> str:
        return self.words[self.place][0]

    def _take(self) -> tuple[str, int]:
        self.place += 1
        return self.words[self.place - 1]

    def _header(self) -> Path:
        line = self._take()[1]
        is_array = self._peek() == "["
        self.place += is_array
        path = self._resolved(self._key("]"))
        self.place += 1 + is_array
        if is_array:
            n = self.sizes.get(path, 0)
            self.sizes[path] = n + 1
            path = (*path, n)
        self.found.setdefault(path, line)
        return path

    def _resolved(self, key: Path) -> Path:
        """A header's path, passing through the newest item of each array of tables on the way."""
        path: Path = ()
        for i, part in enumerate(key):
            path = (*path, part)
            if path in self.sizes and i + 1 < len(key):
                path = (*path, self.sizes[path] - 1)
        return path

    def _key(self, end: str) -> Path:
        parts: list[str] = []
        while self._peek() != end:
            word, _ = self._take()
            if word[0] in "\"'":
                parts.append(tomllib.loads(f"x = {word}")["x"])
            else:
                parts.extend(part for part in word.split(".") if part)
        return tuple(parts)

    def _pair(self, table: Path) -> None:
        line = self.words[self.place][1]
        path = (*table, *self._key("="))
        self.place += 1
        self.found[path] = line
        self._value(path)

    def _value(self, path: Path) -> None:
        opening, _ = self._take()
        if opening == "[":
            self._items(path)
        elif opening == "{":
            while self._peek() != "}":
                if self._peek() in (",", "\n"):
                    self.place += 1
                else:
                    self._pair(path)
            self.place += 1
        else:  # a date and a time may stand apart
            while self.place < len(self.words) and self._peek() not in ("\n", ",", "]", "}"):
                self.place += 1

    def _items(self, path: Path) -> None:
        n = 0
        while self._peek() != "]":
            if self._peek() in (",", "\n"):
                self.place += 1
                continue
            self.found[(*path, n)] = self.words[self.place][1]
            self._value((*path, n))
            n += 1
        self.place += 1
