"""A caller in bare HTTP/2 that sends calls and lets no answer come: gRPC's own clients read what they are sent."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self

from google.protobuf.message import Message

_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
_FRAME_BYTES = 16_384


class RawCaller:
    """A connection on whose streams the server may send nothing but headers.

    Args:
        address: the router's.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.settimeout(0.05)
        self._stream = 1
        self._unread = b""
        settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0))
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        self.answer_pings()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._socket.close()

    def call(self, method: str, request: Message, *, timeout_s: int) -> None:
        """Sends a call, such as of `VectorService/Fetch`, with a deadline."""
        head = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/podroute.v1.{method}",
            ":authority": "router",
            "content-type": "application/grpc",
            "te": "trailers",
            "grpc-timeout": f"{timeout_s}S",
        }
        message = request.SerializeToString()
        body = struct.pack(">BI", 0, len(message)) + message
        assert len(body) <= _FRAME_BYTES
        headers = b"".join(_literal(name, value) for name, value in head.items())
        self._socket.sendall(
            _frame(_HEADERS, _END_HEADERS, self._stream, headers) + _frame(_DATA, _END_STREAM, self._stream, body)
        )
        self._stream += 2

    def answer_pings(self) -> None:
        """The server takes the connection as alive, and its settings as known."""
        try:
            self._unread += self._socket.recv(1 << 20)
        except TimeoutError:
            return
        while len(self._unread) >= 9 and len(self._unread) >= 9 + (size := int.from_bytes(self._unread[:3], "big")):
            kind, flags, body = self._unread[3], self._unread[4], self._unread[9 : 9 + size]
            self._unread = self._unread[9 + size :]
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._socket.sendall(_frame(kind, _ACK, 0, body if kind == _PING else b""))


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header that is kept in no table."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
