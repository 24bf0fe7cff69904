"""The create protocol in two thousand simulated worlds, and each of its safeguards shown to be needed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulation import CREATE_FAULTS, OTHER_FAULTS, Change, DiskFile, Folder, Violation, simulate
from yotta_async.api.endpoints import Endpoints
from yotta_async.api.pod_list import PodListSnapshot
from yotta_async.api.responses import NewPod
from yotta_async.creation import journal, reaper
from yotta_async.creation.creator import CreateAttempt, CreateUnknownError, PodCreator
from yotta_async.creation.journal import Intent, Journal
from yotta_async.creation.recovery import CreateRecovery, find_by_token
from yotta_async.errors import NotFoundError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.transport.messages import SendState
from yotta_async.transport.retry import is_transient

SEEDS = {"v1": 2_000, "v2": 500}
PARTS = 8

pytestmark = pytest.mark.both_versions


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))])
def test_nothing_is_made_twice_or_lost(part: int, api_version: str) -> None:
    fired: Counter[str] = Counter()
    intents = 0
    for seed in range(part, SEEDS[api_version], PARTS):
        try:
            world = simulate(seed, api_version=api_version)
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}")
        fired += world.fired
        intents += world.intents
    assert intents > SEEDS[api_version] / PARTS * 5
    assert set(fired) == {*CREATE_FAULTS, *OTHER_FAULTS, "cancel", "crash"}, "every fault fired"


def test_the_same_seed_is_the_same_world(api_version: str) -> None:
    def record(seed: int) -> list[Any]:
        world = simulate(seed, api_version=api_version)
        return [(pod.pod_id, pod.made, pod.going, pod.pod_id in world.held) for pod in world.pods.values()]

    assert record(12) == record(12)
    assert record(12) != record(13)


# One mutant for each safeguard: the real class but for the safeguard.


class RetriesWhatMayHaveBeenProcessed(Endpoints):
    """Sends a create again after any transient failure."""

    async def create(self, spec: PodSpec, client_token: str | None, send_state: SendState) -> NewPod:
        for _ in range(2):
            try:
                return await super().create(spec, client_token, send_state)
            except YottaError as error:
                if not is_transient(error):
                    raise
        return await super().create(spec, client_token, send_state)


class TakesLostForUnsent(Endpoints):
    """Says that nothing was made when the response was lost."""

    async def create(self, spec: PodSpec, client_token: str | None, send_state: SendState) -> NewPod:
        try:
            return await super().create(spec, client_token, send_state)
        except YottaError as error:
            send_state.request_sent = False
            raise NotFoundError from error


class SendsNoToken(Endpoints):
    """Sends creates without their token."""

    async def create(self, spec: PodSpec, client_token: str | None, send_state: SendState) -> NewPod:  # dropped
        return await super().create(spec, None, send_state)


class DeletesOnce(Endpoints):
    """Takes every delete for done."""

    async def delete(self, pod_id: str, **options: Any) -> None:
        try:
            await super().delete(pod_id, **options)
        except YottaError:
            return

    async def get(self, pod_id: str, **_: Any) -> Pod:
        raise NotFoundError(pod_id)


class DoesNotGetAfterDeleting(Endpoints):
    """Believes the response to a delete."""

    async def get(self, pod_id: str, **_: Any) -> Pod:
        raise NotFoundError(pod_id)


class WritesAfterSending(Journal):
    """Writes an intent to the disk a little later."""

    async def intend(self, token: str, *, is_in_name: bool = False) -> None:
        self.open[token] = Intent(token, self.clock.now(), self.account, is_in_name=is_in_name)
        write = super().intend
        asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(write(token, is_in_name=is_in_name)))


class DoesNotFinish(Journal):
    """Does not write down that a pod was handed over."""

    async def finish(self, token: str, pod_id: str | None = None) -> None:
        self.open.pop(token, None)


class RunsInTheCaller(PodCreator):
    """Creates in the caller's own task, which a cancel ends."""

    async def create(self, spec: PodSpec, attempt: CreateAttempt) -> str:
        return await self.send(spec, attempt)


class DoesNotUndo(PodCreator):
    """Raises a cancel, and leaves the pod."""

    async def undo(self, creating: asyncio.Task[str], token: str | None) -> bool:
        await asyncio.wait({creating})
        if not creating.cancelled() and creating.exception() is None:
            self.delete_on_exit.pop(creating.result(), None)
            await self.finish_intent(token)
        return True


class DoesNotWaitAtTheEnd(PodCreator):
    """Closes while creates are in flight."""

    async def drain(self) -> None:
        assert self.journal is not None
        await self.journal.close()


class TakesUnknownForNone(PodCreator):
    """Takes an unknown outcome for none."""

    def build_unknown_error(self, token: str | None, what: str, *advice: str) -> CreateUnknownError:
        self.start_task(self.finish_intent(token))
        return super().build_unknown_error(token, what, *advice)


class ResolvesWithoutFinishing(PodCreator):
    """Hands a pod over that was found later, and leaves its intent open."""

    async def resolve(self, token: str) -> str | None:
        pods = await self.recovery.find(token)
        return pods[0] if pods else None


class TakesAnyPod(CreateRecovery):
    """Takes a pod that has any token."""

    def on_list(self, snapshot: Any) -> None:
        matches = [match.pod_id for found in find_by_token(snapshot).values() for match in found]
        for found in self.waiting.values():
            if matches and not found.done():
                found.set_result(matches)


class Everything(dict[str, Any]):
    """The pods of every token, whatever the token."""

    def get(self, _: str, __: Any = None) -> Any:
        return [pod for pods in self.values() for pod in pods]


class IgnoresLocks(Folder):
    """Yields the files of processes that live, too."""

    def open_abandoned(self) -> Iterator[DiskFile]:
        return iter(tuple(self.disk.files))


class DefersNoCancel(PodCreator):
    """Raises a cancel at once, and deletes the pod afterwards."""

    async def create(self, spec: PodSpec, attempt: CreateAttempt) -> str:
        delete_on_exit, attempt.delete_on_exit = attempt.delete_on_exit, True
        creating = self.start_task(self.send(spec, attempt))
        try:
            await asyncio.wait({creating})
        except asyncio.CancelledError:
            creating.add_done_callback(lambda _: self.start_task(self.undo(creating, None)))
            raise
        if not delete_on_exit:
            self.delete_on_exit.pop(creating.result(), None)
        return creating.result()


def caught(change: Change, api_version: str) -> str:
    for seed in range(1_000):
        try:
            simulate(seed, change, api_version=api_version)
        except Violation as violation:
            return str(violation)
    return "nothing"


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"Endpoints": RetriesWhatMayHaveBeenProcessed}, "sent again"),
        ({"Endpoints": TakesLostForUnsent}, "neither held nor reported"),
        ({"Endpoints": SendsNoToken}, "no journal knows"),
        ({"Endpoints": DeletesOnce}, "its pod was not"),
        ({"Endpoints": DoesNotGetAfterDeleting}, "its pod was not"),
        ({"Journal": WritesAfterSending}, "no journal knows"),
        ({"Journal": DoesNotFinish}, "deleted that a caller holds"),
        ({"PodCreator": RunsInTheCaller}, ""),
        ({"PodCreator": DefersNoCancel}, ""),
        ({"PodCreator": DoesNotUndo}, "neither held nor reported"),
        ({"PodCreator": DoesNotWaitAtTheEnd}, "neither held nor reported"),
        ({"PodCreator": TakesUnknownForNone}, "left that no caller holds"),
        ({"PodCreator": ResolvesWithoutFinishing}, "deleted that a caller holds"),
        ({"CreateRecovery": TakesAnyPod}, ""),
        ({"options": {"settle_timeout": 0.1}}, "given up too early"),
        ({"Folder": IgnoresLocks}, "whose process lives"),
    ],
)
def test_each_safeguard_is_needed(change: Change, violation: str, api_version: str) -> None:
    found = caught(change, api_version)
    assert found != "nothing"
    assert violation in found


@pytest.mark.parametrize(
    ("name", "value", "violation"),
    [
        ("INTENT_LIFETIME_S", 0.0, "left that no caller holds"),
        ("find_by_token", lambda listing: Everything(find_by_token(listing)), ""),
    ],
)
def test_each_safeguard_of_reap_is_needed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, violation: str, api_version: str
) -> None:
    monkeypatch.setattr(reaper, name, value)
    found = caught({}, api_version)
    assert found != "nothing"
    assert violation in found


@pytest.mark.one_version
def test_a_torn_line_must_be_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def strict(data: bytes) -> list[Intent]:
        for line in data.splitlines():
            json.loads(line)
        return read(data)

    read = journal.parse_open_intents
    monkeypatch.setattr(journal, "parse_open_intents", strict)
    with pytest.raises(ValueError, match="Unterminated"):
        caught({}, "v1")


# Where responses show neither the environment of pods nor a name that the client drew.


class TakesTheName(CreateRecovery):
    """Takes a pod with the caller's name for the caller's own."""

    def on_list(self, snapshot: Any) -> None:
        read = (snapshot.pod(index) for index in range(len(snapshot.summaries)))
        pods = [pod.id for pod in read if pod and pod.pod_name == "mine"]
        for found in self.waiting.values():
            if pods and not found.done():
                found.set_result(pods)


@pytest.mark.one_version
def test_a_name_of_the_callers_is_no_token() -> None:
    assert caught({"CreateRecovery": TakesTheName}, "v2") != "nothing"


@pytest.mark.one_version
def test_reap_must_know_that_tokens_may_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PodListSnapshot, "may_hide_tokens", False)
    assert "whose token nothing shows" in caught({}, "v2")
