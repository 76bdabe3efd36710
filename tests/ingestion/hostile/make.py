"""Made the corpus of hostile payloads, and makes it again, the same: python -m tests.ingestion.hostile.make

Each is what a broken, foreign or malicious sender could put on the topic: cut, bent, in other encodings and formats,
and with every field of a message replaced by what it must not be. What is left to a thousand is damaged by chance.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec

CORPUS = Path(__file__).with_name("corpus.msgpack.gz")
N = 1_000
STAMP = 1_772_452_800
GOOD = {"mote_id": 7, "timestamp": STAMP, "temperature": 21.5, "humidity": 40.0, "light": 120.0, "voltage": 2.7}
CODES = (
    '""', '" "', '"7 "', '" 7"', '"07"', '"７"', '"7\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u202e7"', '"\\n7"',
    "7.0", "7.5", "-7", "-0", "1e400", "-1e400", "1e308", "9223372036854775808", "1" * 400, "true", "null", "[]", "[7]",
    "{}", '{"id": 7}', "NaN", '"' + "a" * 70_000 + '"', '"' + "é" * 64 + '"', '"💥"',
    "\"'; DROP TABLE sensors_mote; --\"",
    '"../../etc/passwd"', '"main/7"', '"mote:main/7"', '"indoor,mote=7 temperature=1"', '"%s%n{0}"',
    '"${jndi:ldap://x}"',
    '"<script>alert(1)</script>"', '"=cmd|calc"', '"True"', '"None"', '"nan"', '"\\\\"', '"\\""', '"\\u0007"',
)  # fmt: skip
STAMPS = (
    "0", "-1", "-0.0", "1e308", "1e400", "-1e400", "NaN", "Infinity", "true", "null", "[]", "{}", '""', '" "', '"now"',
    "9223372036854775807", "9223372036854775808", "1" * 300, f"{STAMP}.123456789", f"{STAMP * 1000}", f"{STAMP}000000",
    f"{STAMP}000000000", f"{STAMP}000000000000", "4102444800", "4102444801", "253402300800", "1e-300", f'"{STAMP}"',
    f'" {STAMP} "', f'"{STAMP}.5"', '"1e9"', '"inf"', '"nan"', '"0x69A"', '"１７７２４５２８００"',
    '"2026-02-30T12:00:00Z"',
    '"2026-03-02T25:00:00Z"', '"2026-03-02T24:00:00Z"', '"2026-03-02T12:00:60Z"', '"2026-03-02T12:00:00+99:99"',
    '"2026-03-02T12:00:00+23:59"', '"2026-03-02"', '"20260302T120000Z"', '"2026-W10-1"', '"02/03/2026 12:00"',
    '"0000-01-01T00:00:00Z"', '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"10000-01-01T00:00:00Z"',
    '"-2026-03-02T12:00:00Z"', '"2026-03-02T12:00:00.1234567890123Z"', '"2026-03-02T12:00:00 Z"',
    '"2026-03-02 12:00:00"',
    '"2026-03-02T12:00:00Z\\u0000"', '"\\ud83d"', '"' + "2" * 50_000 + '"', '"2026-03-02T12:00:00[Europe/Berlin]"',
    '"1970-01-01T00:00:00Z"', '"1969-12-31T23:59:59Z"', '"2100-01-01T00:00:00Z"', '"P1D"', '"Mon, 02 Mar 2026"',
)  # fmt: skip
NUMBERS = (
    "1e308", "-1e308", "1.7976931348623157e308", "1e309", "-1e309", "5e-324", "1e-400", "-0.0", "0", "1" * 400, "NaN",
    "-NaN", "Infinity", "-Infinity", "true", "false", "null", '"21.5"', '"21,5"', '""', '"hot"', "[]", "[21.5]", "{}",
    '{"value": 21.5}', "21.5.5", "0x15", "+21.5", "21.", ".5", "1_000", "2e", "1e999999999999", "9007199254740993",
    "0." + "3" * 500, '"\\ud800"', "1e2147483648", "'21.5'", "٢١", "18446744073709551616",
)  # fmt: skip
SITES = (
    '""', '" "', "1", "true", "[]", "{}", '"nowhere"', '"MAIN"', '"main "', '"main\\u0000"', '"\\udfff"', "1e400",
    '"' + "s" * 5_000 + '"', '"../main"', '"main/lab"', '"ｍａｉｎ"',
)  # fmt: skip
NESTED = (
    "1", '"x"', "[]", "[1]", "true", '{"temperature": "hot"}', '{"temperature": {"temperature": 1}}',
    '{"temperature": 1e400}',
    '{"": 1}', '{"temperature": 1, "temperature": 2}', '{"values": {"temperature": 1}}', '{"mote_id": 8}', "NaN",
)  # fmt: skip


def payloads() -> list[bytes]:
    found = dict.fromkeys([*_formats(), *_cut(), *_fields(), *_large()])
    chance = random.Random(20_261_121)
    seeds = list(found)[:700]
    while len(found) < N:
        found[_damaged(chance.choice(seeds)[:400], chance)] = None
    return list(found)[:N]


def _formats() -> Iterator[bytes]:
    good = json.dumps(GOOD)
    yield from (
        b"",
        b" ",
        b"\n",
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"null",
        b"true",
        b"0",
        b"-",
        b'""',
        b"[]",
        b"{}",
        b"[{}]",
    )
    yield from (
        good.encode(code) for code in ("utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "cp037", "utf-7")
    )
    yield from (bytes([byte]) + good.encode() for byte in range(0, 256, 8))
    yield from (good.encode() + bytes([byte]) for byte in range(4, 256, 16))
    yield gzip.compress(good.encode(), mtime=0)
    yield msgspec.msgpack.encode(GOOD)
    yield b"\x00\x00\x00\x00\x01\x02\x14" + good.encode()[:20]  # as a schema registry frames Avro
    yield b"\x08\x07\x11\x00\x00\x00\x00\x00\x80\x35\x40"  # as protobuf would say it
    for text in (
        "indoor,mote=7 temperature=21.5 1772452800000000000", "7;1772452800;21.5", "<reading mote='7'/>", "mote_id: 7",
        good.replace('"', "'"), good + good, good + "\n" + good, good + ",", f"[{good}]", f"/* x */{good}",
        f"{good} // x",
        good.replace("}", ",}"), good.replace(": ", ":: "), good.replace(",", ";"), good.replace("{", "{{"),
        f'"{good}"',
        json.dumps(good), good.replace("temperature", "Temperature"), good.replace("temperature", "temp\\u0065rature"),
        good.replace("{", '{"": 1, '), good.replace("{", '{"__proto__": {"mote_id": 8}, '), good.replace("21.5",
        "21.5e"),
        good.replace("{", '{"mote_id": 8, '), good.replace("}", ', "temperature": 99}'), good.replace("7", "7\\"),
        good.replace("{", '{"machine_id": "MACHINE_001", '), good.replace("{", '{"sensor_id": [], '),
        good.replace("{", '{"sieis_replay_of":"nothing/0@1#1",'), good.replace("{",
        '{"sieis_replay_of":"x#99999999999999999",'),
        "HTTP/1.1 400 Bad Request\r\n\r\n", "SELECT 1", "\u0000" * 50, "🙂" * 50, "\ufeff" + good, "\u2028" + good,
    ):  # fmt: skip
        yield text.encode()


def _cut() -> Iterator[bytes]:
    good = json.dumps(GOOD).encode()
    yield from (good[:i] for i in range(len(good)))
    yield from (good[i:] for i in range(1, len(good), 3))


def _fields() -> Iterator[bytes]:
    for name, hostile in (
        ("mote_id", CODES), ("machine_id", CODES[:20]), ("sensor_id", CODES[20:]), ("timestamp", STAMPS), ("site",
        SITES),
        ("temperature", NUMBERS), ("voltage", NUMBERS[:12]), ("values", NESTED), ("unknown", NUMBERS[:20]),
    ):  # fmt: skip
        for text in hostile:
            rest = {key: value for key, value in GOOD.items() if key != name}
            yield f'{{"{name}": {text}, {json.dumps(rest)[1:]}'.encode()
            if name == "temperature":  # nothing else in it
                yield f'{{"mote_id": 7, "timestamp": {STAMP}, "temperature": {text}}}'.encode()
                yield f'{{"mote_id": 7, "timestamp": {STAMP + 30}, "values": {{"temperature": {text}}}}}'.encode()
    for name in GOOD:
        yield json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()
        yield json.dumps({**GOOD, name: None}).encode()


def _large() -> Iterator[bytes]:
    good = json.dumps(GOOD).encode()
    yield b"[" * 100_000
    yield b'{"a":' * 100_000
    yield b"{" * 2_000 + b"}" * 2_000
    yield good[:-1] + b', "a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    yield good[:-1] + b"," + b",".join(b'"k%d": 1' % i for i in range(20_000)) + b"}"
    yield good[:-1] + b', "note": "' + b"x" * 900_000 + b'"}'
    yield b"x" * 1_040_000
    yield b" " * 500_000 + good
    yield b"0" * 200_000
    yield b'{"mote_id": ' + b"9" * 100_000 + b"}"


def _damaged(payload: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(payload or b"\x00")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(damaged))
        match chance.randrange(4):
            case 0:
                damaged[place] = chance.randrange(256)
            case 1:
                damaged.insert(place, chance.choice(b'{}[]",:\\\x00\xff0e-'))
            case 2 if len(damaged) > 1:
                del damaged[place]
            case _:
                damaged[place:place] = damaged[place : place + chance.randint(1, 9)]
    return bytes(damaged)


def read() -> list[bytes]:
    found: list[bytes] = msgspec.msgpack.decode(gzip.decompress(CORPUS.read_bytes()), type=list[bytes])
    return found


if __name__ == "__main__":
    CORPUS.write_bytes(gzip.compress(msgspec.msgpack.encode(payloads()), mtime=0))
