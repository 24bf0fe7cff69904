"""The emulator's public class: `async with Emulator() as emulator, emulator.client() as yotta`."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar, get_args

from aiohttp import web

from yotta_async.emulator.account import Account, Scarcity
from yotta_async.emulator.billing import BillingRecord
from yotta_async.emulator.catalogue import Capacity, CapacityPool
from yotta_async.emulator.clock import ClockKind, EmulatorClock, ManualClock, make_clock
from yotta_async.emulator.control import Control
from yotta_async.emulator.faults import Fault, FaultOptions, Faults
from yotta_async.emulator.loops import LoopOwner, LoopThread
from yotta_async.emulator.pod import IdForm
from yotta_async.emulator.runtime import ProcessRuntime, RecordedExit, Runtime, SimulatedRuntime
from yotta_async.emulator.server import RecordedRequest, Server
from yotta_async.emulator.statuses import Timings
from yotta_async.emulator.store import Store
from yotta_async.emulator.versions import EnvironmentForm, StatusForm, build_v1, build_v2

if TYPE_CHECKING:
    from yotta_async.client import YottaClient

T = TypeVar("T")
RuntimeKind: TypeAlias = Literal["simulated", "process"]

# Anyone on this machine may know it, so it opens simulated pods only.
_PUBLIC_KEY = "emulator-key"
_MAX_DOLLARS = 1e12
# How often status changes are applied where processes start and end by them.
_APPLY_INTERVAL_S = 0.05
# How long requests in flight may take when the emulator closes.
_SHUTDOWN_TIMEOUT_S = 0.1

logger = logging.getLogger("yotta_async.emulator")


class Emulator:
    """The whole API on this machine, versions 1 and 2: pods that start, pause and end, and cost nothing.

    `async with` serves in the running event loop; `with` serves in a thread, for programs without a loop.

    Attributes:
        api_key: the key that requests must have.
        clock: the clock that pods follow.
        faults: the active faults, to which faults can be added at any time.

    Args:
        host: a loopback address.
        port: the TCP port; 0 takes a free one.
        api_key: the key that requests must have. None is "emulator-key", or with runtime="process" a random key.
        timings: how long pods stay in their statuses; None is INITIALIZE 1 to 3 s, PAUSING and TERMINATING under 1 s.
        clock: "real"; "manual", which moves by `await emulator.clock.advance(seconds)`; or "auto", which jumps to the
            next moment that a client made by `client()` sleeps for, whenever none of their calls is in flight.
        faults: the faults to start with, each as the arguments of `faults.add`.
        seed: the seed of ids, times and probabilities: the same calls give the same results.
        runtime: "simulated", where a RUNNING pod consists of its ports; or "process", which RUNS every pod's
            initializationCommand ON THIS MACHINE with your rights (on a real clock, not on Windows).
        capacity: how many GPUs exist, by type: a number, or numbers by region (regions without one have none). Types
            without an entry are unlimited.
        scarcity: if too few GPUs are free, the pod of a create becomes FAILED ("fail"), or the create is refused
            ("refuse").
        balance: US dollars, which running pods use up; at zero all pods are terminated. None is unlimited. An existing
            `state` file has its own.
        ids: "wire" as the API has them, text in responses and a number from v1's create; or "text" or "number"
            everywhere.
        state: a file that keeps pods, bills and balance, from which the next emulator continues.
        control: whether to serve `/_emulator/`, by which programs in any language advance the clock and inject faults.
        strict: whether to refuse creates with GPU types that the catalogue does not have, which else get filler values,
            and with fields that the API does not have, which else are ignored.
        v2_environment_vars: "shown" or "hidden": whether pods in v2 show their environment variables, as those in v1
            do. No document of v2 has them in a pod, so test with "hidden" too.
        v2_statuses: "reference", where v2 has the names of v1; or "guide", where INITIALIZE is INITIALIZING and PAUSED
            is STOPPED. The documents disagree; the vendor's own script waits for PAUSED.

    Raises:
        ValueError: an argument has a wrong value, such as a host that is not a loopback address.
        TypeError: `timings` or `faults` has a wrong type.

    Example:
        ```python
        async with Emulator(clock="auto") as emulator, emulator.client() as yotta:
            handle = await yotta.pods.create(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G")
            await handle.wait_until(status="RUNNING")
        ```

    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
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
        strict: bool = False,
        v2_environment_vars: EnvironmentForm = "shown",
        v2_statuses: StatusForm = "reference",
    ) -> None:
        _check_arguments(host, port, seed, balance)
        _check_choice("clock", clock, ClockKind)
        _check_choice("scarcity", scarcity, Scarcity)
        _check_choice("ids", ids, IdForm)
        _check_choice("runtime", runtime, RuntimeKind)
        _check_choice("v2_environment_vars", v2_environment_vars, EnvironmentForm)
        _check_choice("v2_statuses", v2_statuses, StatusForm)
        if not isinstance(timings, Timings | None):
            raise TypeError(f"timings must be Timings(…), not {type(timings).__name__}")
        if runtime == "process" and (clock != "real" or sys.platform == "win32"):
            raise ValueError("runtime='process' needs clock='real', as processes take real time, and not Windows")
        self._host = host
        self._port = port
        self.api_key = _resolve_api_key(api_key, runtime)
        self.faults = Faults(faults, seed)
        self.faults.on_removal = self._undo_fault
        self.clock: EmulatorClock = make_clock(clock)
        self._exits: list[RecordedExit] = []
        self._runtime: Runtime = (
            ProcessRuntime(host, self._record_exit) if runtime == "process" else SimulatedRuntime(host)
        )
        self._account = Account(
            timings=timings or Timings(),
            seed=seed,
            runtime=self._runtime,
            host=host,
            pool=CapacityPool(capacity),
            scarcity=scarcity,
            balance=balance,
            ids=ids,
        )
        self._state = state
        self._balance = balance
        self._store: Store | None = None
        self._final_money: tuple[float | None, Sequence[BillingRecord]] | None = None  # balance and bills, once closed
        self._server = Server(
            self._account,
            self.clock,
            self.faults,
            api_key=self.api_key,
            host=host,
            versions=[build_v1(ids), build_v2(v2_environment_vars, v2_statuses)],
            strict=strict,
        )
        self._has_control = control
        self._runner: web.AppRunner | None = None
        self._apply_task: asyncio.Task[None] | None = None
        self._close_task: asyncio.Task[None] | None = None
        self._thread: LoopThread | None = None
        self._loop_owner = LoopOwner()

    def __repr__(self) -> str:
        return f"Emulator({self.url if self._runner else 'not started'})"

    @property
    def url(self) -> str:
        """The base URL, without a final slash.

        Raises:
            RuntimeError: the emulator is not started.

        """
        if self._runner is None:
            raise RuntimeError("the emulator is not started: use `async with Emulator() as emulator`")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def requests(self) -> Sequence[RecordedRequest]:
        """The API requests so far, the oldest first; the last 100,000 are kept."""
        return tuple(self._server.requests)

    @property
    def exits(self) -> Sequence[RecordedExit]:
        """The pods' processes that ended by themselves, the oldest first (`runtime="process"`)."""
        return tuple(self._exits)

    @property
    def balance(self) -> float | None:
        """The balance in US dollars; None if it is unlimited. After the emulator is closed, the final one."""
        return self._get_money()[0]

    @property
    def bills(self) -> Sequence[BillingRecord]:
        """A record of each period that a pod ran, by the time at which it begins. They stay after it is closed."""
        return self._get_money()[1]

    def deposit(self, amount: float) -> None:
        """Add to the balance; without effect if it is unlimited.

        Args:
            amount: US dollars, at least 0.

        Raises:
            ValueError: the amount is not a finite number in this range.
            RuntimeError: the emulator is closed.

        """
        _check_dollars("amount", amount)
        self._call_account(lambda now: self._account.deposit(amount, now))

    def logs(self, pod_id: str) -> str:
        """Read what a pod's process has written (`runtime="process"`).

        Args:
            pod_id: the pod's id.

        Returns:
            Its standard output and error, the last MiB of them.

        Raises:
            ValueError: there is no log: pods are simulated, or the pod has not run or no longer exists.

        """
        return self._runtime.read_log(str(pod_id))

    def reset(self) -> None:
        """Remove all pods, faults and recorded requests at once; time and balance stay.

        Raises:
            RuntimeError: the emulator is closed.

        """
        self._call_account(self._reset)

    def client(self, **client_options: Any) -> YottaClient:
        """Make a client of this emulator that waits by its clock.

        Args:
            client_options: the arguments of `YottaClient`, such as `poll_interval`; `api_key`, `base_url` and `clock`
                are the emulator's unless they are given.

        Returns:
            The client, to be opened with `async with`.

        Raises:
            RuntimeError: the emulator is not started.

        """
        # The only import of the client: the emulator shares no model and no codec with it.
        from yotta_async.client import YottaClient

        clock = self.clock if isinstance(self.clock, ManualClock) else None
        return YottaClient(**{"api_key": self.api_key, "base_url": self.url, "clock": clock, **client_options})

    async def start(self) -> None:
        """Start to listen, and load the `state` file. `async with` calls this.

        Raises:
            OSError: the port is in use, or the state file cannot be written.
            ValueError: the state file is not an emulator's, is damaged, or is in use.
            RuntimeError: the emulator was started before.

        """
        if self._runner is not None or self._final_money is not None:
            raise RuntimeError("an emulator can be started once: make a new one")
        app = self._server.build_app()
        if self._has_control:
            Control(self._server, self._exits, self.logs, self.reset).add_to(app)
        # An access log would halve the speed and show what is requested.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        self._loop_owner.attach()
        try:
            await site.start()
            if self._state is not None:
                self._store = Store(self._state, self._balance)
                self.clock.start_at(self._store.loaded.now)
                self._account.restore(self._store, self.clock.now())
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
            self._apply_task = asyncio.get_running_loop().create_task(self._apply_due_changes())

    async def aclose(self) -> None:
        """Stop listening, and end all processes. `async with` calls this.

        It may be called again, and continues in the background when it is cancelled.
        """
        if self._runner is None:
            self.clock.close()
            return
        if self._close_task is None:
            self._close_task = asyncio.get_running_loop().create_task(self._close(self._runner))
        await asyncio.shield(self._close_task)

    async def _close(self, runner: web.AppRunner) -> None:
        if self._apply_task is not None:
            self._apply_task.cancel()
        now = self.clock.now()
        self._apply_or_log(now)
        self._final_money = self._account.get_money(now, is_final=True)
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

    def _get_money(self) -> tuple[float | None, Sequence[BillingRecord]]:
        return self._final_money or self._call_account(self._account.get_money)

    def _call_account(self, function: Callable[[float], T]) -> T:
        """Call a function with the current time in the emulator's loop. Raises RuntimeError once it is closed."""
        if self._final_money is not None:
            raise RuntimeError("the emulator is closed")
        return self._loop_owner.call(lambda: function(self.clock.now()))

    def _reset(self, now: float) -> None:
        self.faults.clear()
        self._account.clear(now)
        self._server.clear()
        self._exits.clear()

    def _undo_fault(self, fault: Fault) -> None:
        def undo(now: float) -> None:
            self._account.apply_due_changes(now)  # those that the fault did not hold
            fault.is_active = False
            self._account.release_pods(now)

        if self._final_money is None:
            self._call_account(undo)

    def _record_exit(self, pod_id: str, exit_code: int | None) -> None:
        self._exits.append(RecordedExit(self.clock.time(), pod_id, exit_code))
        try:
            self._account.mark_failed(pod_id, self.clock.now())
        except Exception:  # such as a full disk: it is stored together with the next change
            logger.exception("the exit of pod %s could not be stored", pod_id)

    async def _apply_due_changes(self) -> None:
        """Apply status changes without a request, as processes start and end by them."""
        while True:
            self._apply_or_log(self.clock.now())
            await asyncio.sleep(_APPLY_INTERVAL_S)

    def _apply_or_log(self, now: float) -> None:
        try:
            self._account.apply_due_changes(now)
        except Exception:  # such as a full disk, which may have space later
            logger.exception("due status changes could not be stored")


def _check_arguments(host: object, port: object, seed: object, balance: object) -> None:
    if host != "localhost" and not _is_loopback(host):
        raise ValueError(f"the emulator listens on loopback addresses only, such as 127.0.0.1, not on {host!r}")
    if type(port) is not int or not 0 <= port <= 65535:
        raise ValueError("port must be a whole number between 0 and 65535")
    if type(seed) is not int:
        raise ValueError("seed must be a whole number")
    if balance is not None:
        _check_dollars("balance", balance)


def _check_choice(name: str, value: object, literal: object) -> None:
    choices = get_args(literal)
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")


def _check_dollars(name: str, value: object) -> None:
    if not (type(value) in (int, float) and 0 <= value <= _MAX_DOLLARS):  # type: ignore[operator]  # it is a number
        raise ValueError(f"{name} must be a number of US dollars that is not negative, and at most {_MAX_DOLLARS:g}")


def _is_loopback(host: object) -> bool:
    try:
        return isinstance(host, str) and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _resolve_api_key(api_key: str | None, runtime: RuntimeKind) -> str:
    if api_key is None:
        return _PUBLIC_KEY if runtime == "simulated" else secrets.token_urlsafe(32)
    if not isinstance(api_key, str) or not api_key.isascii() or not api_key.isprintable() or not api_key.strip():
        raise ValueError("the emulator's api_key must be printable ASCII text, and not empty")
    if runtime == "process" and api_key == _PUBLIC_KEY:
        raise ValueError(f"runtime='process' needs a secret api_key, as it runs commands: {_PUBLIC_KEY!r} is public")
    return api_key
