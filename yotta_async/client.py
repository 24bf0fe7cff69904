"""The client: checks the settings, connects the parts, and closes them."""

from __future__ import annotations

import asyncio
import os
import re
from functools import partial
from typing import Any, Literal, NoReturn, Self

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.versions import read_api_version
from yotta_async.creation.creator import PodCreator
from yotta_async.creation.journal import Journal, journal_folder
from yotta_async.creation.recovery import CreateRecovery
from yotta_async.errors import ConfigurationError
from yotta_async.fleet.limit import SpendLimit
from yotta_async.fleet.spending import SpendTracker
from yotta_async.gpus import Gpus
from yotta_async.handle import CreateOutcomeUnknownError, PodHandle
from yotta_async.pods import Pods
from yotta_async.polling.poller import StatusPoller
from yotta_async.polling.subscription import PollInterval, interval_at
from yotta_async.support.clock import Clock, RealClock
from yotta_async.support.secrets import Secret
from yotta_async.support.tasks import spawn, wait_deferring_cancel
from yotta_async.transport.retry import Retrier, RetryPolicy
from yotta_async.transport.session_pool import SessionPool
from yotta_async.transport.settings import account_name, read_base_url, read_key
from yotta_async.transport.transport import Transport


class YottaClient:
    """A client of the Yotta Labs API.

    It can be made outside an event loop, and belongs to the loop of its first call. Close it with `async with` or
    `aclose()`.

    Attributes:
        pods: The calls on pods.
        gpus: The GPU types that can be rented.

    Args:
        api_key: The key of the account. None reads $YOTTA_API_KEY.
        base_url: The address of the API: https, or http to a loopback address. None reads $YOTTA_BASE_URL, and else is
            the vendor's host.
        timeout: Seconds for one attempt at a request: connecting, sending, and reading the whole response.
        retry: Which failures are retried, how often, and after which delay.
        session_pool: Connections that clients share; this client does not close them. None makes a pool of its own.
        poll_interval: Seconds between two polls of a wait, or a function from the age of the wait (seconds) to such an
            interval, so that old waits back off.
        settle_timeout: Seconds to search the account's lists for the pod of a create whose response was lost. After
            that, CreateOutcomeUnknownError is raised.
        client_token: Whether each create puts a random YOTTA_CLIENT_TOKEN into its pod's environment, by which the pod
            is found if the response is lost. If False, the outcome of such a create is unknown at once.
        journal: A directory for the journal of creates, from which `pods.reap()` cleans up after processes that were
            killed. None reads $YOTTA_JOURNAL, and else there is no journal.
        requests_per_second: The highest rate of requests, evenly spaced. None adapts the rate to the API's 429 and
            Retry-After.
        spend_limit: How many pods there may be, and how much they may cost per hour. A create that would pass the limit
            is not sent.
        user_agent: The name and version of your program, which precede this package's in the User-Agent header.
        api_version: The version of the API that is spoken, "v1" or "v2". Calls, models and errors are the same for
            both. None reads $YOTTA_API_VERSION, and else is "v1".
        clock: The clock of all waits and delays. None is real time; an emulator has others.

    Raises:
        ConfigurationError: The key is missing, or an argument cannot work. The text quotes no key and no URL.

    Example:
        ```python
        async with YottaClient() as yotta:
            print(await yotta.pods.list())
        ```

    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(max_attempts=4),  # noqa: B008  # frozen, and the default worth seeing in help()
        session_pool: SessionPool | None = None,
        poll_interval: PollInterval = 5.0,
        settle_timeout: float = 60.0,
        client_token: bool = True,
        journal: str | os.PathLike[str] | None = None,
        requests_per_second: float | None = None,
        spend_limit: SpendLimit | None = None,
        user_agent: str | None = None,
        api_version: Literal["v1", "v2"] | None = None,
        clock: Clock | None = None,
    ) -> None:
        given_key, given_url = Secret(api_key), Secret(base_url)
        # A traceback can show the variables of this frame, and whatever raises below would show a key or a password.
        api_key = base_url = None
        key = read_key(given_key)
        root = read_base_url(given_url)
        version = read_api_version(api_version)
        for name, value in (("timeout", timeout), ("poll_interval", poll_interval), ("settle_timeout", settle_timeout)):
            if not _is_number(value) and not (name == "poll_interval" and callable(value)):
                raise ConfigurationError(f"{name} must be a number of seconds above 0, at most a billion")
        if requests_per_second is not None and not _is_number(requests_per_second):
            raise ConfigurationError("requests_per_second must be a number above 0, at most a billion")
        if spend_limit is not None and not isinstance(spend_limit, SpendLimit):
            raise ConfigurationError(f"spend_limit must be a SpendLimit, not {type(spend_limit).__name__}")
        if not isinstance(retry, RetryPolicy):
            raise ConfigurationError(f"retry must be a RetryPolicy, not {type(retry).__name__}")
        if session_pool is not None and not isinstance(session_pool, SessionPool):
            raise ConfigurationError(f"session_pool must be a SessionPool, not {type(session_pool).__name__}")
        if not isinstance(client_token, bool):
            raise ConfigurationError("client_token must be True or False; the token itself is drawn for each create")
        if user_agent is not None and not (isinstance(user_agent, str) and re.fullmatch(r"[\x20-\x7e]+", user_agent)):
            raise ConfigurationError("user_agent must be printable ASCII text, such as 'my-app/1.0'")
        folder = journal_folder(journal)
        if folder is not None and not client_token:
            raise ConfigurationError(
                "a journal finds pods by their tokens: do without it, or without client_token=False"
            )
        self.base_url = str(root).rstrip("/")
        """The address of the API, without a final slash."""
        self.api_version = version.name
        """The version of the API that is spoken."""
        self._closing: asyncio.Task[None] | None = None
        clock = clock or RealClock()
        pool = session_pool or SessionPool()
        self._own_pool = pool if session_pool is None else None  # closed with the client
        self._transport = Transport(
            base_url=root,
            key=key,
            timeout=timeout,
            pool=pool,
            clock=clock,
            requests_per_second=requests_per_second,
            user_agent=user_agent or "",
        )
        endpoints = Endpoints(self._transport, Retrier(retry, clock), version)
        self._poller = poller = StatusPoller(endpoints, clock)
        interval = interval_at(poll_interval, 0.0)
        self._creator = creator = PodCreator(
            endpoints,
            poller,
            CreateRecovery(endpoints, poller, timeout=settle_timeout, interval=interval),
            Journal(folder, account_name(root, key), clock) if folder is not None else None,
            client_token=client_token,
            make_unknown_error=self._make_unknown_error,
        )
        spending = SpendTracker(endpoints, poller.recently_created, spend_limit)
        self.gpus = Gpus(endpoints)
        self.pods = Pods(endpoints, poller, creator, spending, poll_interval=poll_interval)

    @classmethod
    def from_profile(cls, name: str | None = None, **options: Any) -> Self:
        """Return a client with the settings of a profile in the user's config file (extra `profiles`).

        The file is `yotta-async/config.toml` in the platform's directory for settings, `$XDG_CONFIG_HOME` on Linux;
        `yotta-async config` shows and changes it. Nothing else in the library reads it.

        Args:
            name: The profile. Its settings win over $YOTTA_API_KEY, $YOTTA_BASE_URL and $YOTTA_API_VERSION, which do
                not count then. None takes the profile that $YOTTA_PROFILE names or the default one, if there is one;
                the variables win over that.
            options: Arguments of YottaClient, which win over all else. A `session_pool` comes with a proxy and
                certificates of its own, and those of the profile do not count.

        Returns:
            A client. It closes the connections that it makes for the proxy and the certificates of the profile.

        Raises:
            ConfigurationError: There is no such profile or no key, the file is not as it must be, other users can read
                the key in it, or an argument cannot work. The text quotes no key.

        Example:
            ```python
            async with YottaClient.from_profile("work") as yotta:
                print(await yotta.pods.list())
            ```

        """
        from yotta_async.profiles import resolve_settings  # few programs need it, and what reads TOML

        # No variable holds the key: a traceback can show this frame's.
        settings = resolve_settings(
            name, {key: options.pop(key, None) for key in ("api_key", "base_url", "api_version")}
        )
        options["api_version"] = settings.api_version.argument
        own_pool = settings.build_session_pool() if options.get("session_pool") is None else None
        options |= {} if own_pool is None else {"session_pool": own_pool}
        settings.require_key()
        client = cls(settings.api_key.argument, base_url=settings.base_url.argument, **options)
        client._own_pool = own_pool
        return client

    def _make_unknown_error(self, message: str, token: str | None) -> CreateOutcomeUnknownError:
        error = CreateOutcomeUnknownError(message, client_token=token)
        if token is not None:
            error.resolver = partial(self._resolve, token)
        return error

    async def _resolve(self, token: str) -> PodHandle | None:
        pod_id = await self._creator.resolve(token)
        return None if pod_id is None else self.pods.handle(pod_id)

    async def aclose(self) -> None:
        """End every wait, wait for creates in flight, delete ephemeral pods, and close the connections.

        May be called again. A cancel is deferred for 30 s at most, so that no pod is left.
        """
        if self._closing is None:
            self._creator.closing.set()
            self._poller.close(
                ConfigurationError("the YottaClient was closed during this wait: keep it open while it is used")
            )
            self._closing = spawn(self._close())
        cancelled = await wait_deferring_cancel(self._closing)
        if cancelled is not None:
            raise cancelled
        if self._closing.done():
            self._closing.result()

    async def _close(self) -> None:
        try:
            await self._creator.drain()
        finally:
            await self._transport.aclose()
            if self._own_pool is not None:
                await self._own_pool.aclose()

    def __enter__(self) -> NoReturn:
        raise ConfigurationError("YottaClient is for `async with`, as in `async with YottaClient() as yotta:`")

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Self:
        self._transport.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e9
