"""`yotta-async demo`: forty pods and a few mishaps, with the real client over a real socket to the emulator."""

from __future__ import annotations

import time
from collections import Counter

from yotta_async import FanOutReport, PodStatus, YottaClient
from yotta_async.cli.follow import Follower
from yotta_async.cli.output import print_table, say
from yotta_async.cli.settings import Settings
from yotta_async.emulator import Emulator, FaultOptions, Timings
from yotta_async.timeline import check_ending

PODS = 40
_FIRST, _FALLBACK = "NVIDIA_GeForce_RTX_5090_32G", "NVIDIA_L4_24G"
_FAULTS: list[FaultOptions] = [
    {"kind": "answer_lost_after_commit", "on": "create", "nth": 5},
    {"kind": "rate_limited", "on": "create", "nth": 9, "seconds": 1},
    {"kind": "failed", "nth": 13},
    {"kind": "html_502", "on": "list", "nth": (3, 4)},
]
# What each of them means to whoever asked, for the summary.
_SURVIVED = {
    "answer_lost_after_commit": "a lost answer to a create: its pod was found, not made twice",
    "rate_limited": "a 429: the pace slowed down, and the create was repeated",
    "failed": "a pod that turned FAILED: deleted, and replaced by another GPU",
    "html_502": "two lists that were a proxy's HTML: the waits went on",
}


async def demo(timeline: str) -> int:
    """Start forty pods, pause and resume some, delete all, and say what was survived."""
    check_ending(timeline)
    began = time.monotonic()
    timings = Timings(initialize=(0.5, 2.5), pausing=(0.3, 0.9), terminating=(0.2, 0.8))
    async with Emulator(timings=timings, faults=_FAULTS) as emulator, emulator.client(poll_interval=0.4) as yotta:
        say(f"{PODS} pods on an emulator: created, some paused and resumed, all deleted.")
        follower = Follower(Settings(), PODS, timeline)
        async with follower.following(yotta):
            started, price = await _live(yotta, follower)
        pods = await yotta.pods.list()
        kinds = Counter(kind for request in emulator.requests for kind in request.faults)
        left = [pod for pod in pods if pod.status != PodStatus.TERMINATED]
        say("")
        ran = f"{len(started.succeeded)} of {PODS} ran, for ${price:.2f} an hour; {len(left)} left"
        print_table(
            ("demo", ""),
            [
                ("pods", ran),
                ("made", f"{len(pods)}, of which one failed and was replaced"),
                *(("survived", text) for kind, text in _SURVIVED.items() if kinds[kind]),
                ("requests", f"{len(emulator.requests)} over a real socket, {sum(kinds.values())} with a fault"),
                ("in all", f"{time.monotonic() - began:.1f} s"),
            ],
        )
    say("The same code drives the API: see examples/quickstart.py.")
    return 0


async def _live(yotta: YottaClient, follower: Follower) -> tuple[FanOutReport, float]:
    """Take all through their life; return what became of their creates, and what they cost while all ran."""
    specs = [
        {"image": "yottalabsai/pytorch:2.8.0", "gpu_type": _FIRST, "pod_name": f"demo-{number:02}", "expose": [22]}
        for number in range(1, PODS + 1)
    ]
    started = await yotta.pods.create_many(
        specs, until=PodStatus.RUNNING, fallbacks=[{"gpu_type": _FALLBACK}], concurrency=8, on_event=follower.item
    )
    price = sum(item.pod.hourly_price or 0 for item in started.succeeded if item.pod)
    ids = [item.pod_id for item in started.succeeded if item.pod_id]
    some = ids[::5]
    await yotta.pods.pause_many(some)
    await yotta.pods.wait_many(some, status=PodStatus.PAUSED)
    await yotta.pods.resume_many(some)
    await yotta.pods.wait_many(some)
    await yotta.pods.delete_many(ids)
    await yotta.pods.wait_many(ids, status=PodStatus.TERMINATED)
    return started, price
