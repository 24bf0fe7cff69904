"""The handle on one pod, and the error of a create whose handle may yet be found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from yotta_async.creation.creator import CreateUnknownError
from yotta_async.errors import ConfigurationError
from yotta_async.models.pod import Pod
from yotta_async.models.status import PodStatus, Statuses
from yotta_async.polling.subscription import PollInterval
from yotta_async.polling.waiter import OnChange


class PodCalls(Protocol):
    """What a handle calls: `yotta.pods`."""

    async def get(self, pod_id: str) -> Pod: ...  # noqa: D102  # each as `Pods` documents it

    async def wait_until(  # noqa: D102
        self,
        pod_id: str,
        *,
        status: Statuses,
        timeout: float,
        poll_interval: PollInterval | None,
        on_change: OnChange | None,
    ) -> Pod: ...

    async def wait_until_ready(  # noqa: D102
        self, pod_id: str, *, ports: Iterable[int] | None, timeout: float, on_change: OnChange | None
    ) -> Pod: ...

    async def drive(  # noqa: D102
        self, pod_id: str, *, to: PodStatus | str | int, timeout: float, on_change: OnChange | None
    ) -> Pod: ...

    async def pause(self, pod_id: str) -> None: ...  # noqa: D102

    async def resume(self, pod_id: str) -> None: ...  # noqa: D102

    async def delete(self, pod_id: str, *, missing_ok: bool) -> None: ...  # noqa: D102


class PodHandle:
    """One pod: its id, the latest state that this handle saw, and the calls of `Pods` on it.

    Not constructed directly: `Pods.create`, `Pods.ephemeral` and `Pods.handle` return one. API v2 answers a create with
    the pod, so that the handle of a new pod has it at once.
    """

    def __init__(self, pods: PodCalls, pod_id: str, pod: Pod | None = None) -> None:
        self._pods = pods
        self._id = pod_id
        self._pod = pod

    @property
    def id(self) -> str:
        """The pod's id."""
        return self._id

    @property
    def pod(self) -> Pod | None:
        """The pod as this handle last saw it; None before."""
        return self._pod

    def __repr__(self) -> str:
        return f"PodHandle({self._id!r}, {str(self._pod.status) if self._pod else 'not seen yet'})"

    async def refresh(self) -> Pod:
        """Get the pod as `Pods.get` does, and keep it.

        Returns:
            The pod as it is now.

        Raises:
            NotFoundError: there is no such pod.

        """
        self._pod = await self._pods.get(self._id)
        return self._pod

    async def wait_until(
        self,
        *,
        status: Statuses = PodStatus.RUNNING,
        timeout: float = 600.0,
        poll_interval: PollInterval | None = None,
        on_change: OnChange | None = None,
    ) -> Pod:
        """Wait as `Pods.wait_until` does, and keep each pod that is seen.

        Args:
            status: the status to wait for, or several.
            timeout: seconds for the wait; math.inf sets no limit.
            poll_interval: seconds between polls, or a function from the seconds that this wait has lasted to such an
                interval; None: the client's.
            on_change: called with the Pod when a status is first seen and whenever it changes.

        Returns:
            The pod with the status.

        Raises:
            WaitError: as `Pods.wait_until` raises it.

        """
        self._pod = await self._pods.wait_until(
            self._id,
            status=status,
            timeout=timeout,
            poll_interval=poll_interval,
            on_change=self._note_and_call(on_change),
        )
        return self._pod

    async def wait_until_ready(
        self, *, ports: Iterable[int] | None = None, timeout: float = 600.0, on_change: OnChange | None = None
    ) -> Pod:
        """Wait until the pod can be reached, as `Pods.wait_until_ready` does, and keep each pod that is seen.

        Args:
            ports: the ports that count, by their numbers in the container; None: every port that the pod exposes.
            timeout: seconds for all of it.
            on_change: called with the Pod when a status is first seen and whenever it changes.

        Returns:
            The pod, RUNNING.

        Raises:
            WaitError: as `Pods.wait_until_ready` raises it.

        """
        self._pod = await self._pods.wait_until_ready(
            self._id, ports=ports, timeout=timeout, on_change=self._note_and_call(on_change)
        )
        return self._pod

    async def drive(
        self, *, to: PodStatus | str | int, timeout: float = 600.0, on_change: OnChange | None = None
    ) -> Pod:
        """Bring the pod to a state, as `Pods.drive` does, and keep each pod that is seen.

        Args:
            to: RUNNING, PAUSED or TERMINATED.
            timeout: seconds for all of it.
            on_change: called with the Pod when a status is first seen and whenever it changes.

        Returns:
            The pod with that status.

        Raises:
            InvalidRequestError: for another target.
            WaitError: as `Pods.drive` raises it.

        """
        self._pod = await self._pods.drive(self._id, to=to, timeout=timeout, on_change=self._note_and_call(on_change))
        return self._pod

    def _note_and_call(self, on_change: OnChange | None) -> OnChange:
        def note(pod: Pod) -> object:
            self._pod = pod
            return on_change(pod) if on_change is not None else None

        return note

    async def pause(self) -> None:
        """Pause the pod, as `Pods.pause` does.

        Raises:
            NotFoundError: there is no such pod.
            InvalidStateError: its status does not allow it.

        """
        await self._pods.pause(self._id)

    async def resume(self) -> None:
        """Resume the pod, as `Pods.resume` does.

        Raises:
            NotFoundError: there is no such pod.
            InvalidStateError: its status does not allow it.

        """
        await self._pods.resume(self._id)

    async def delete(self, *, missing_ok: bool = False) -> None:
        """Delete the pod for good, as `Pods.delete` does.

        Args:
            missing_ok: a pod that is gone is success.

        Raises:
            NotFoundError: there is no such pod.
            InvalidStateError: its status does not allow it.

        """
        await self._pods.delete(self._id, missing_ok=missing_ok)


class CreateOutcomeUnknownError(CreateUnknownError):
    """A create was sent, no usable response came, and no pod has been found, so there may be a pod that bills.

    The create was not sent a second time. The failure itself is the `__cause__`.

    Attributes:
        client_token: the value of the environment variable YOTTA_CLIENT_TOKEN that such a pod has, or None when the
            client sends none.

    Example:
        ```python
        try:
            handle = await yotta.pods.create(spec)
        except CreateOutcomeUnknownError as error:
            handle = await error.resolve()
        ```

    """

    resolver: Callable[[], Awaitable[PodHandle | None]] | None = None
    """Finds the pod by its token; set by the client, and not pickled."""

    async def resolve(self) -> PodHandle | None:
        """Search for the pod once more.

        Returns:
            A handle on the pod; None while no pod has the token. None does not prove that there is no pod: the create
            may still be in progress.

        Raises:
            ConfigurationError: the error was pickled, its client is closed, or the create had no token.
            YottaError: what `pods.list` raises.

        """
        if self.client_token is None:
            raise ConfigurationError(
                "the create had no client token (client_token=False), so no list shows which pod is its own: compare "
                "`pods.list()` with the pods that you know"
            )
        if self.resolver is None:
            raise ConfigurationError(
                "this error is no longer bound to a client, so it cannot find the pod: list the pods, and find the one "
                "whose `client_token` is that of the error"
            )
        return await self.resolver()

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "resolver"}
        return (type(self), self.args, state)
