"""Cleaning up after processes that were killed: the pods of creates that nobody got and nobody deleted."""

from __future__ import annotations

import asyncio

import attrs

from yotta_async.api.endpoints import Endpoints
from yotta_async.creation.deletion import remove
from yotta_async.creation.journal import Abandoned, Intent, Journal, abandoned
from yotta_async.creation.recovery import find_by_token, has_client_token
from yotta_async.errors import ConfigurationError, NotFoundError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.status import ENDING
from yotta_async.polling.poller import StatusPoller

# A create whose pod has not shown for so many seconds made none.
_HORIZON = 3600.0
# For so many seconds after its create, that a pod is not found does not mean that it is gone.
_GRACE = 300.0


@attrs.frozen
class ReapedPod:
    """A pod that a dead process left: whether it was `deleted`, or the `error` that left it standing."""

    pod: Pod
    deleted: bool = False
    error: YottaError | None = None


@attrs.frozen
class ReapReport:
    """What `reap` found: `pods`, and how many creates may yet show one (`pending`) or are another account's."""

    pods: tuple[ReapedPod, ...] = ()
    pending: int = 0
    other_accounts: int = 0

    @property
    def hourly_price(self) -> float | None:
        """What the pods cost per hour while they run, or None when the API does not name a price for each."""
        prices = [each.pod.hourly_price for each in self.pods]
        known = [price for price in prices if price is not None]
        return sum(known) if len(known) == len(prices) else None


async def reap(
    endpoints: Endpoints, poller: StatusPoller, journal: Journal | None, *, dry_run: bool, only: frozenset[str] | None
) -> ReapReport:
    """Delete what dead processes left; see `Pods.reap`."""
    endpoints.check()
    if journal is None:
        raise ConfigurationError("there is no journal to reap by: give YottaClient(journal=…) or set $YOTTA_JOURNAL")
    try:
        files = list(abandoned(journal.folder))
    except OSError as error:
        raise ConfigurationError(f"the journal cannot be read: {error.strerror}") from None
    try:
        return await _reap(endpoints, poller, journal, files, dry_run=dry_run, only=only)
    finally:
        for file in files:
            file.close()


async def _reap(
    endpoints: Endpoints,
    poller: StatusPoller,
    journal: Journal,
    files: list[Abandoned],
    *,
    dry_run: bool,
    only: frozenset[str] | None,
) -> ReapReport:
    ours = [(file, intent) for file in files for intent in file.open.values() if intent.account == journal.account]
    others = sum(len(file.open) for file in files) - len(ours)
    if not ours:
        return ReapReport(other_accounts=others)
    snapshot = await endpoints.snapshot()
    marked = find_by_token(snapshot)
    may_hide = snapshot.unreadable_items > 0  # one of these may be a pod that is looked for

    async def one(file: Abandoned, intent: Intent) -> tuple[list[ReapedPod], bool]:
        """Return the pods of a create that are left, and whether there may be one that does not show."""
        age = journal.now() - intent.time
        pods = [
            # Of a pod whose JSON is broken, id and status are enough.
            snapshot.pod(match.position) or Pod(id=match.pod_id, status=match.status)
            for match in marked.get(intent.token, ())
        ]
        if not pods and intent.pod_id is not None:
            try:
                pod = await endpoints.get(intent.pod_id, fresh_connection=True)
            except NotFoundError:
                return [], _forgotten(file, intent, dry_run=dry_run, pending=age < _GRACE or may_hide)
            except YottaError:
                return [], True
            if not has_client_token(pod, intent.token):
                return [], pod.status not in ENDING  # not ours to touch, and not to be forgotten
            pods = [pod]
        if not pods:
            return [], _forgotten(file, intent, dry_run=dry_run, pending=age < _HORIZON or may_hide)
        left = [pod for pod in pods if pod.status not in ENDING and (only is None or pod.id in only)]
        found = [
            ReapedPod(pod) if dry_run else await _delete(endpoints, poller, pod, recently_created=age < _GRACE)
            for pod in left
        ]
        is_all = len(left) == sum(pod.status not in ENDING for pod in pods)
        if not dry_run and is_all and all(each.deleted for each in found):
            file.done(intent.token)
        return found, False

    reaped = await asyncio.gather(*(one(file, intent) for file, intent in ours))
    return ReapReport(
        pods=tuple(each for found, _ in reaped for each in found),
        pending=sum(is_pending for _, is_pending in reaped),
        other_accounts=others,
    )


def _forgotten(file: Abandoned, intent: Intent, *, dry_run: bool, pending: bool) -> bool:
    """Write an intent off that made no pod, unless one may yet show; return whether it may."""
    if not pending and not dry_run:
        file.done(intent.token)
    return pending


async def _delete(endpoints: Endpoints, poller: StatusPoller, pod: Pod, *, recently_created: bool) -> ReapedPod:
    try:
        await remove(endpoints, poller.clock, pod.id, is_recently_created=lambda _: recently_created)
    except YottaError as error:
        return ReapedPod(pod, error=error)
    return ReapedPod(pod, deleted=True)
