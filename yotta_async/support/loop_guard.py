"""Objects that belong to one event loop, until they are closed."""

from __future__ import annotations

import asyncio

from yotta_async.errors import ConfigurationError


def get_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop of asyncio. Raises ConfigurationError where there is none, as under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise ConfigurationError("yotta_async needs a running event loop of asyncio, as in asyncio.run(); trio's is none")


class LoopGuard:
    """Binds its owner to the event loop of its first use, and refuses every other loop and all use after closing."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def check(self) -> None:
        """Raise ConfigurationError when the owner is closed or belongs to another event loop."""
        if self.closed:
            raise ConfigurationError(f"this {self._owner} is closed: make a new one, and keep it open while it is used")
        loop = get_loop()
        if self.loop is None:
            self.loop = loop
        elif self.loop is not loop:
            raise ConfigurationError(
                f"this {self._owner} belongs to another event loop: make one inside each loop (each asyncio.run)"
            )

    def close(self) -> None:
        """Refuse every use from now on."""
        self.closed = True
        self.loop = None
