"""The web server waits for those who read slowly, instead of keeping for them whatever they do not take."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from tests.stack import ROOT, free_port

FLOOD = """
import sys
from daphne.endpoints import build_endpoint_description_strings
from sieis_site.web_server import PatientServer

CHUNK, taken = b"x" * 1_000_000, 0

async def application(scope, receive, send):
    global taken
    is_socket = scope["type"] == "websocket"
    start = {"type": "websocket.accept"} if is_socket else {"type": "http.response.start", "status": 200, "headers": []}
    await send(start)
    if scope["path"] == "/taken":
        await send({"type": "http.response.body", "body": str(taken).encode()})
        return
    for _ in range(200):
        one = {"type": "websocket.send", "bytes": CHUNK} if is_socket else {
            "type": "http.response.body", "body": CHUNK, "more_body": True}
        await send(one)
        taken += 1

PatientServer(application, build_endpoint_description_strings(host="127.0.0.1", port=int(sys.argv[1])),
              ready_callable=lambda: print("ready", flush=True)).run()
"""
HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-c", FLOOD, str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    yield port
    server.terminate()
    server.communicate(timeout=30)


@pytest.mark.parametrize("more", ["", HANDSHAKE], ids=["http", "websocket"])
def test_of_what_a_reader_does_not_take_the_server_keeps_little(port: int, more: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as reader:
        reader.sendall(f"GET /flood HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode())
        assert reader.recv(12).startswith(b"HTTP/1.1")

        taken = int(requests.get(f"http://127.0.0.1:{port}/taken", timeout=60).text)

    assert taken < 50  # megabytes of 200: what the kernel's own buffers hold
