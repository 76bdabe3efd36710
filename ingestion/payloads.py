"""Bytes that nobody vouches for, as people can look at them. Pure."""

from __future__ import annotations

SHOWN_OF_A_PAYLOAD = 2000
PER_LINE = 16


def text_of(raw: bytes) -> str | None:
    """The message as text that can be edited; None where it is none."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any((letter < " " and letter not in "\t\r\n") or letter == "\x7f" for letter in text) else text


def visible(text: str) -> str:
    """With what cannot be seen, or would turn the line around, as its number.

    >>> visible("a\\u202eb\\x00")
    'a\\\\u202eb\\\\x00'
    """
    return "".join(
        letter if letter.isprintable() or letter in "\t\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def shown(raw: bytes, size: int, longest: int = SHOWN_OF_A_PAYLOAD) -> str:
    """The beginning of a message on a page: text, with the bytes that are none as their numbers."""
    text = visible(raw[: longest + 4].decode("utf-8", errors="backslashreplace"))
    return text if len(text) <= longest and size <= longest else f"{text[:longest]} … ({size:,} bytes)"


def hex_lines(raw: bytes, longest: int = 2048) -> str:
    """As a hex dump: place, bytes, and what of them is text.

    >>> print(hex_lines(b"\\xffsieis"))
    0000  ff 73 69 65 69 73                                .sieis
    """
    lines = []
    for start in range(0, min(len(raw), longest), PER_LINE):
        part = raw[start : start + PER_LINE]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:04x}  {part.hex(' '):<{PER_LINE * 3}} {seen}")
    return "\n".join(lines)
