"""The emulator as its users meet it: `async with Emulator() as emulator, emulator.client() as yotta`."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar

from aiohttp import web

from yotta_async.emulator.arguments import MOST_DOLLARS, check_arguments, check_words
from yotta_async.emulator.billing import BillingRecord
from yotta_async.emulator.clock import ClockKind, EmulatorClock, ManualClock, make_clock
from yotta_async.emulator.control import Control
from yotta_async.emulator.faults import Fault, FaultOptions, Faults
from yotta_async.emulator.loops import LoopThread, Place
from yotta_async.emulator.pod import IdForm
from yotta_async.emulator.ports import Runtime, SimulatedRuntime
from yotta_async.emulator.runtime import ProcessRuntime, RecordedExit
from yotta_async.emulator.server import RecordedRequest, Server
from yotta_async.emulator.state import Account, Scarcity
from yotta_async.emulator.stock import Capacity, Stock
from yotta_async.emulator.store import Store
from yotta_async.emulator.timings import Timings

if TYPE_CHECKING:
    from yotta_async.client import YottaClient

T = TypeVar("T")
RuntimeKind: TypeAlias = Literal["simulated", "process"]

# How often pods that really run are looked after.
_TICK = 0.05
# How long requests in flight may take when the emulator closes.
_LAST_ANSWERS = 0.1

logger = logging.getLogger("yotta_async.emulator")


class Emulator:
    """The whole API on this machine: pods that start, pause and end, and cost nothing.

    `async with` serves in the running event loop; `with` serves in a thread of its own, for programs without one.

    Args:
        host: a loopback address; ValueError for any other, as whoever reaches the emulator may use it.
        port: 0 takes a free one.
        api_key: the one key that it accepts.
        timings: how long pods stay in their states; None is INITIALIZE 1 to 3 s, PAUSING and TERMINATING under 1 s.
        clock: "real"; "manual", which moves by `await emulator.clock.advance(seconds)`; or "auto", which jumps to the
            next moment that a client of `client()` sleeps for, whenever no call of theirs is in flight.
        faults: what goes wrong from the start, each as the arguments of `faults.add`.
        seed: of everything that is drawn, so that the same calls give the same ids and times.
        runtime: "simulated", where a RUNNING pod is nothing but its ports; or "process", which RUNS every pod's
            initializationCommand ON THIS MACHINE, with the rights of this process (on a real clock, not on Windows).
        capacity: how many GPUs of a type there are to rent, by its name: a number, or numbers by region, where a region
            without one has none. Without an entry there is no end of them.
        scarcity: what becomes of a create when there are too few: its pod turns FAILED ("fail"), or it is refused
            ("refuse").
        balance: US dollars, which running pods use up; at zero every pod is terminated. None is without end. A file of
            `state` that is there already has its own.
        ids: "wire" as v1 has them, text in answers and a number from create; "text" or "number" everywhere.
        state: a file that keeps pods, bills and balance, so that the next emulator with it goes on from there.
        control: whether to serve `/_emulator/`, by which programs in any language turn the clock and order faults.

    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = "emulator-key",
        timings: Timings | None = None,
        clock: ClockKind = "real",
        faults: Iterable[FaultOptions] = (),
        seed: int = 0,
        runtime: RuntimeKind = "simulated",
        capacity: Capacity | None = None,
        scarcity: Scarcity = "fail",
        balance: float | None = None,
        ids: IdForm = "wire",
        state: str | os.PathLike[str] | None = None,
        control: bool = False,
    ) -> None:
        check_arguments(host, port, api_key, seed, balance)
        check_words({"scarcity": (scarcity, Scarcity), "ids": (ids, IdForm), "runtime": (runtime, RuntimeKind)})
        if not isinstance(timings, Timings | None):
            raise TypeError(f"timings must be Timings(…), not {type(timings).__name__}")
        if runtime == "process" and (clock != "real" or sys.platform == "win32"):
            raise ValueError("runtime='process' needs clock='real', as processes take real time, and not Windows")
        self._host = host
        self._port = port
        self.api_key = api_key
        self.faults = Faults(faults, seed)
        self.faults.on_removal = self._removed
        self.clock: EmulatorClock = make_clock(clock)
        self._exits: list[RecordedExit] = []
        self._runtime: Runtime = ProcessRuntime(host, self._ended) if runtime == "process" else SimulatedRuntime(host)
        self._account = Account(
            timings=timings or Timings(),
            seed=seed,
            runtime=self._runtime,
            host=host,
            stock=Stock(capacity),
            scarcity=scarcity,
            balance=balance,
            ids=ids,
        )
        self._state = state
        self._balance = balance
        self._store: Store | None = None
        self._last: tuple[float | None, Sequence[BillingRecord]] | None = None  # balance and bills when it was closed
        self._server = Server(self._account, self.clock, api_key, host, faults=self.faults, ids=ids)
        self._has_control = control
        self._runner: web.AppRunner | None = None
        self._tender: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._thread: LoopThread | None = None
        self._place = Place()

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
        """The API's requests answered so far, the oldest first; the last 100,000 are kept."""
        return tuple(self._server.requests)

    @property
    def exits(self) -> Sequence[RecordedExit]:
        """The pods' processes that ended by themselves, the oldest first (`runtime="process"`)."""
        return tuple(self._exits)

    @property
    def balance(self) -> float | None:
        """What is left of the balance, in US dollars; None when it has no end."""
        return self._last[0] if self._last else self._in_loop(self._account.balance)

    @property
    def bills(self) -> Sequence[BillingRecord]:
        """Every stretch that a pod ran, by its beginning."""
        return self._last[1] if self._last else self._in_loop(self._account.bills)

    def deposit(self, amount: float) -> None:
        """Add to the balance, in US dollars."""
        if type(amount) not in (int, float) or not 0 <= amount <= MOST_DOLLARS:
            raise ValueError(
                f"amount must be a number of US dollars that is not negative, and at most {MOST_DOLLARS:g}"
            )
        self._in_loop(lambda now: self._account.deposit(amount, now))

    def logs(self, pod_id: str) -> str:
        """Return what a pod's process wrote, the last MiB of it. Raises ValueError when there is nothing of it."""
        return self._runtime.logs(str(pod_id))

    def reset(self) -> None:
        """Forget all pods, faults and requests, at once and without a trace; time and balance stay."""
        self._in_loop(self._reset)

    def client(self, **client_options: Any) -> YottaClient:
        """Return a client of this emulator, whose waits follow its clock; options are those of YottaClient."""
        # The emulator's one door to the client: it shares no model and no codec with it.
        from yotta_async.client import YottaClient

        clock = self.clock if isinstance(self.clock, ManualClock) else None
        return YottaClient(**{"api_key": self.api_key, "base_url": self.url, "clock": clock, **client_options})

    async def start(self) -> None:
        """Begin to listen, and take up what `state` kept.

        Raises OSError when the port is taken, ValueError when the file of `state` cannot be used, and RuntimeError on
        an emulator that was started before.
        """
        if self._runner is not None or self._last is not None:
            raise RuntimeError("an emulator is started once: make a new one")
        app = self._server.app()
        if self._has_control:
            reset = lambda: self._reset(self.clock.now())  # noqa: E731
            Control(self._server, self._exits, self._runtime.logs, reset).add_to(app)
        # Access logs take more than half of the speed, and would show what is asked for.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_ANSWERS)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        self._place.settle()
        try:
            await site.start()
            if self._state is not None:
                self._store = Store(self._state, self._balance)
                self.clock.begin_at(self._store.past.now)
                self._account.keep(self._store, self.clock.now())
        except BaseException as error:
            await runner.cleanup()
            if self._store is not None:
                self._store.close(None)
            if isinstance(error, sqlite3.Error):
                raise OSError(f"the emulator's state cannot be kept in {str(self._state)!r}: {error}") from None
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        if isinstance(self._runtime, ProcessRuntime):
            logger.warning("pods of %s run their initializationCommand on this machine, with your rights", self.url)
            self._tender = asyncio.get_running_loop().create_task(self._tend())

    async def aclose(self) -> None:
        """Stop listening, and end every process that a pod runs. May be called again, and goes on when cancelled."""
        if self._runner is None:
            self.clock.close()
            return
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(self._runner))
        await asyncio.shield(self._closing)

    async def _close(self, runner: web.AppRunner) -> None:
        if self._tender is not None:
            self._tender.cancel()
        now = self.clock.now()
        try:
            self._account.settle(now)
        except Exception:  # a full disk, say: the rest is to be closed nevertheless
            logger.exception("what was due at the end could not be kept")
        self._last = self._account.money(now)
        self.clock.close()
        await runner.cleanup()
        await self._runtime.aclose()
        if self._store is not None:
            self._store.close(now)
        self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        self._thread = LoopThread()
        try:
            self._thread.run(self.start())
        except BaseException:
            self._thread.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.run(self.aclose())
            thread.stop()

    def _in_loop(self, do: Callable[[float], T]) -> T:
        """Do something to the account where it lives, and return what comes of it. RuntimeError when it is closed."""
        if self._last is not None:
            raise RuntimeError("the emulator is closed")
        return self._place.do(lambda: do(self.clock.now()))

    def _reset(self, now: float) -> None:
        self.faults.clear()
        self._account.clear(now)
        self._server.requests.clear()
        self._exits.clear()

    def _removed(self, fault: Fault) -> None:
        def remove(now: float) -> None:
            self._account.settle(now)  # with it, as far as it held anything back
            fault.is_active = False
            self._account.free(now)

        if self._last is None:
            self._in_loop(remove)

    def _ended(self, pod_id: str, exit_code: int | None) -> None:
        self._exits.append(RecordedExit(self.clock.time(), pod_id, exit_code))
        try:
            self._account.failed(pod_id, self.clock.now())
        except Exception:  # a full disk, say: the next change is kept together with this one
            logger.exception("the end of pod %s could not be kept", pod_id)

    async def _tend(self) -> None:
        """Let happen what is due though nobody looks: pods that really run start and end by it."""
        while True:
            try:
                self._account.settle(self.clock.now())
            except Exception:  # a full disk, say, which may have room again
                logger.exception("what was due could not be kept")
            await asyncio.sleep(_TICK)
