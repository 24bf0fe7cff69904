"""Ids that are remembered for a minute."""

from __future__ import annotations

import weakref

from yotta_async.emulator.clock import ManualClock
from yotta_async.polling.recent_pods import RecentPods


class Id(str):
    """A text of which a test can see whether it is still kept."""


async def test_an_id_is_recent_for_a_minute_after_it_was_added_last() -> None:
    clock = ManualClock()
    recent = RecentPods(clock)
    recent.add("7")
    await clock.advance(59)
    recent.add("8")
    assert "7" in recent
    await clock.advance(2)
    assert "7" not in recent
    assert "8" in recent
    recent.add("8")
    await clock.advance(59)
    assert "8" in recent


def test_an_id_that_is_discarded_is_not_recent() -> None:
    recent = RecentPods(ManualClock())
    recent.add("7")
    recent.discard("7")
    recent.discard("8")
    assert "7" not in recent
    assert "8" not in recent


async def test_ids_that_are_not_recent_are_not_kept() -> None:
    clock = ManualClock()
    recent = RecentPods(clock)
    ids = [Id(number) for number in range(3)]
    kept = [weakref.ref(each) for each in ids]
    for pod_id in ids:
        recent.add(pod_id)
        await clock.advance(25)
    del pod_id
    ids.clear()
    recent.add("new")
    assert [each() for each in kept] == [None, "1", "2"]
    await clock.advance(61)
    recent.add("newer")
    assert [each() for each in kept] == [None, None, None]
