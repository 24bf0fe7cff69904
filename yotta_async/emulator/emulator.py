"""The emulator as its users meet it: `async with Emulator() as emulator, emulator.client() as yotta`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from yotta_async.emulator.clock import ClockKind, EmulatorClock, make_clock
from yotta_async.emulator.ports import Ports
from yotta_async.emulator.server import RecordedRequest, Server
from yotta_async.emulator.state import Account, Scarcity, Timings

if TYPE_CHECKING:
    from yotta_async.client import YottaClient


class Emulator:
    """The whole API on this machine: pods that start, pause and end, and cost nothing.

    Args:
        host: a loopback address; ValueError for any other, as whoever reaches the emulator may use it.
        port: 0 takes a free one.
        api_key: the one key that it accepts.
        timings: how long pods stay in their states; None is INITIALIZE 1 to 3 s, PAUSING and TERMINATING under 1 s.
        clock: "real"; "manual", which moves by `await emulator.clock.advance(seconds)`; or "auto", which jumps to the
            next moment that a client of `client()` sleeps for, whenever no call of theirs is in flight.
        capacity: how many GPUs of a type there are to rent, by its name; without an entry there is no end of them.
        scarcity: what becomes of a create when there are too few: its pod turns FAILED ("fail"), or it is refused
            ("refuse").
        seed: of everything that is drawn, so that the same calls give the same ids and times.

    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = "emulator-key",
        timings: Timings | None = None,
        clock: ClockKind = "real",
        seed: int = 0,
        capacity: Mapping[str, int] | None = None,
        scarcity: Scarcity = "fail",
    ) -> None:
        if host != "localhost" and not _is_loopback(host):
            raise ValueError(f"the emulator listens on loopback addresses only, such as 127.0.0.1, not on {host!r}")
        if not api_key or not api_key.isascii():
            raise ValueError("the emulator's api_key must be ASCII text and not empty")
        if not 0 <= port <= 65535:
            raise ValueError("port must be between 0 and 65535")
        if timings is not None and not isinstance(timings, Timings):
            raise TypeError(f"timings must be Timings(…), not {type(timings).__name__}")
        if scarcity not in ("fail", "refuse"):
            raise ValueError('scarcity must be "fail" or "refuse"')
        self._host = host
        self._port = port
        self.api_key = api_key
        self.clock: EmulatorClock = make_clock(clock)
        self._follows = clock != "real"
        self._ports = Ports(host)
        self._server = Server(
            Account(timings=timings or Timings(), seed=seed, ports=self._ports, capacity=capacity, scarcity=scarcity),
            self.clock,
            api_key,
            host,
        )
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        return f"Emulator({self.url if self._runner else 'not started'})"

    @property
    def url(self) -> str:
        """The base URL, without a final slash. Raises RuntimeError before the emulator is started."""
        if self._runner is None:
            raise RuntimeError("the emulator is not started: use `async with Emulator() as emulator`")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def requests(self) -> Sequence[RecordedRequest]:
        """The requests answered so far, the oldest first; the last 100,000 are kept."""
        return self._server.requests

    def client(self, **client_options: Any) -> YottaClient:
        """Return a client of this emulator, whose waits follow its clock; options are those of YottaClient."""
        # The emulator's one door to the client: it shares no model and no codec with it.
        from yotta_async.client import YottaClient

        wired = {"api_key": self.api_key, "base_url": self.url, "clock": self.clock if self._follows else None}
        return YottaClient(**{**wired, **client_options})

    async def start(self) -> None:
        """Begin to listen."""
        # Access logs take more than half of the speed, and would show what is asked for.
        runner = web.AppRunner(self._server.app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def aclose(self) -> None:
        """Stop listening. May be called again."""
        self.clock.close()
        self._ports.close_all()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
