"""Which views take files larger than any other body, and how large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])
FORM = 1 << 20  # bytes of a form around its files


def takes_files(largest: int) -> Callable[[View], View]:
    """Marks a view, or the class of one, that takes so many bytes of files; it says itself what is too large."""

    def mark(view: View) -> View:
        view.largest_upload = largest  # type: ignore[attr-defined]
        return view

    return mark


def largest_upload(view: Any) -> int:
    """Bytes of files that a resolved view takes; 0 where it takes no more than anybody."""
    return int(getattr(getattr(view, "cls", view), "largest_upload", 0))
