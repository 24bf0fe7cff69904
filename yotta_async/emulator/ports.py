"""Ports that accept: what a RUNNING pod exposes can be connected to, and says nothing."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

# Of so many ports at a time; every one of them is a file of this process. Pods beyond that have ports that refuse.
_LIMIT = 400


class Ports:
    """The listening sockets of all pods on one host, by proxy port."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._sockets: dict[int, socket.socket] = {}

    def open(self, exposed: dict[str, Any]) -> None:
        """Listen for a port that a pod exposes: at the port that it had, or at a free one."""
        if len(self._sockets) >= _LIMIT:
            return
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            try:
                listener.bind((self.host, exposed["proxyPort"]))
            except OSError:
                listener.bind((self.host, 0))
            listener.listen()
            listener.setblocking(False)  # noqa: FBT003  # the name of its argument is positional
        except OSError:
            listener.close()
            return
        had, exposed["proxyPort"] = exposed["proxyPort"], listener.getsockname()[1]
        exposed["ingressUrl"] = exposed["ingressUrl"].replace(str(had), str(exposed["proxyPort"]))
        self._sockets[exposed["proxyPort"]] = listener
        asyncio.get_running_loop().add_reader(listener, _accept, listener)

    def close(self, exposed: dict[str, Any]) -> None:
        """Listen no more for a port."""
        listener = self._sockets.pop(exposed["proxyPort"], None)
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def close_all(self) -> None:
        """Listen for nothing."""
        for port in list(self._sockets):
            self.close({"proxyPort": port})


def _accept(listener: socket.socket) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    connection.close()
