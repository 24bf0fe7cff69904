"""A TLS server on blocking sockets: unlike asyncio's, it tells a client by a TLS alert why it refuses a handshake."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class TlsServer:
    """Answers every request of at most 64 KiB with `response`, one to a connection."""

    context: ssl.SSLContext
    response: bytes
    listener: socket.socket
    handshakes: int = 0  # refused ones included
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:  # it is closed
                return
            with plain, suppress(OSError):
                self.handshakes += 1
                self._answer(plain)

    def _answer(self, plain: socket.socket) -> None:
        # Without `do_handshake_on_connect=False` a failure would close the socket, and the reset could overtake the alert.
        secure = self.context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        with secure:
            try:
                secure.do_handshake()
                self.requests.append(secure.recv(2**16))
                secure.sendall(self.response)
            finally:
                socket.socket.shutdown(secure, socket.SHUT_WR)
                while socket.socket.recv(secure, 2**16):
                    pass


@contextmanager
def tls_server(context: ssl.SSLContext, response: bytes) -> Iterator[TlsServer]:
    """Serve from a thread until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = TlsServer(context, response, listener)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()
