"""Cleaning up after processes that were killed: deleting the pods that were neither handed over nor deleted."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import attrs

from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.creation.deletion import delete_until_gone
from yotta_async.creation.journal import AbandonedFile, Intent, Journal
from yotta_async.creation.recovery import TokenMatch, find_by_token, has_client_token
from yotta_async.errors import ConfigurationError, NotFoundError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.prices import total_hourly_price
from yotta_async.support.clock import Clock

# A create whose pod has not shown for so long made none.
INTENT_LIFETIME_S = 3600.0
# For so long after its create, a pod that is not found may yet appear.
VISIBILITY_GRACE_S = 300.0


@attrs.frozen
class ReapedPod:
    """A pod that a dead process left.

    Attributes:
        pod: the pod as the list showed it.
        deleted: whether it was deleted; False after a dry run.
        error: what prevented that; None if nothing did.

    """

    pod: Pod
    deleted: bool = False
    error: YottaError | None = None


@attrs.frozen
class ReapReport:
    """What `reap` found.

    Attributes:
        pods: the pods that were left.
        pending: how many creates stay in the journal, as they may yet show a pod, as it could not be confirmed that
            theirs is gone, or as the API shows neither environment nor drawn name by which it could be recognised.
        other_accounts: how many creates were made with another key or another base URL.

    """

    pods: tuple[ReapedPod, ...] = ()
    pending: int = 0
    other_accounts: int = 0

    @property
    def hourly_price(self) -> float | None:
        """What the pods cost per hour while they run, or None when the price of any is unknown."""
        return total_hourly_price(each.pod for each in self.pods)


async def reap(
    endpoints: Endpoints, clock: Clock, journal: Journal | None, *, dry_run: bool, only: frozenset[str] | None
) -> ReapReport:
    """Delete what dead processes left; see `Pods.reap`."""
    endpoints.check()
    if journal is None:
        raise ConfigurationError("there is no journal to reap by: give YottaClient(journal=…) or set $YOTTA_JOURNAL")
    with ExitStack() as opened:
        files: list[AbandonedFile] = []
        try:
            for locked in journal.folder.open_abandoned():
                files.append(AbandonedFile(locked))
                opened.callback(files[-1].close)
        except OSError as error:
            raise ConfigurationError(f"the journal cannot be read: {error.strerror}") from None
        intents = [(file, intent) for file in files for intent in file.open.values()]
        ours = [(file, intent) for file, intent in intents if intent.account == journal.account]
        reaper = _Reaper(endpoints, clock, clock.now(), dry_run=dry_run, only=only)
        reaped, pending = await reaper.run(ours)
        return ReapReport(tuple(reaped), pending, len(intents) - len(ours))


@attrs.define
class _Reaper:
    """One `reap`: what lists show of the intents' tokens, and what becomes of each intent."""

    _endpoints: Endpoints
    _clock: Clock
    _now: float
    _dry_run: bool
    _only: frozenset[str] | None
    _lists: list[tuple[PodListSnapshot, dict[str, list[TokenMatch]]]] = attrs.field(factory=list)
    _may_be_incomplete: bool = False  # a list may hide a pod
    _may_hide_tokens: bool = False  # a list may show a pod without its token
    _may_hide_names: bool = False  # likewise, without the name that carries it

    async def run(self, intents: list[tuple[AbandonedFile, Intent]]) -> tuple[list[ReapedPod], int]:
        """Return the pods that are left, and how many intents may have another."""
        if not intents:
            return [], 0
        await self._list()
        if any(self._is_expired(intent) and not self._find(intent.token) for _, intent in intents):
            try:
                await self._list()  # one list alone may leave a pod out
            except YottaError:
                self._may_be_incomplete = True
        outcomes = await asyncio.gather(*(self._reap(file, intent) for file, intent in intents))
        return [each for reaped, _ in outcomes for each in reaped], sum(is_pending for _, is_pending in outcomes)

    async def _list(self) -> None:
        snapshot = await self._endpoints.snapshot()
        self._lists.append((snapshot, find_by_token(snapshot)))
        self._may_be_incomplete |= snapshot.unreadable_items > 0
        self._may_hide_tokens |= snapshot.may_hide_tokens
        self._may_hide_names |= snapshot.may_hide_names

    def _find(self, token: str) -> list[Pod]:
        for snapshot, matches in self._lists:
            if found := matches.get(token):
                # Of a pod whose JSON is broken, id and status are enough.
                return [snapshot.pod(each.position) or Pod(id=each.pod_id, status=each.status) for each in found]
        return []

    def _is_expired(self, intent: Intent) -> bool:
        lifetime = INTENT_LIFETIME_S if intent.pod_id is None else VISIBILITY_GRACE_S
        return self._now - intent.time >= lifetime

    async def _reap(self, file: AbandonedFile, intent: Intent) -> tuple[list[ReapedPod], bool]:
        """Return the pods of a create that are left, and whether there may be another."""
        pods = self._find(intent.token)
        if not pods and intent.pod_id is not None:
            try:
                pod = await self._endpoints.get(intent.pod_id, fresh_connection=True)
            except NotFoundError:
                pass  # as no list shows it
            except YottaError:
                return [], True
            else:
                if not has_client_token(pod, intent.token):
                    return [], not pod.is_being_deleted  # it is not ours to delete, and not to be forgotten
                pods = [pod]
        hides_token = self._may_hide_names if intent.is_in_name else self._may_hide_tokens
        may_be_hidden = hides_token and intent.pod_id is None
        if not pods and (self._may_be_incomplete or may_be_hidden or not self._is_expired(intent)):
            return [], True
        left = [pod for pod in pods if not pod.is_being_deleted]
        chosen = [pod for pod in left if self._only is None or pod.id in self._only]
        if self._dry_run:
            return [ReapedPod(pod) for pod in chosen], False
        is_new = self._now - intent.time < VISIBILITY_GRACE_S
        reaped = [await self._delete(pod, is_new=is_new) for pod in chosen]
        if len(chosen) == len(left) and all(each.deleted for each in reaped):
            file.finish(intent.token)
        return reaped, False

    async def _delete(self, pod: Pod, *, is_new: bool) -> ReapedPod:
        try:
            await delete_until_gone(
                self._endpoints, self._clock, pod.id, recently_created={pod.id} if is_new else frozenset()
            )
        except YottaError as error:
            return ReapedPod(pod, error=error)
        return ReapedPod(pod, deleted=True)
