"""What `yotta-async demo` does: forty pods and four faults, with the real client over a real socket to the emulator."""

from __future__ import annotations

import time
from collections import Counter

from yotta_async import FanOutReport, PodStatus, YottaClient
from yotta_async.cli.printing import echo_err, print_table, print_value
from yotta_async.cli.progress import ProgressReporter
from yotta_async.cli.run import ExitCode
from yotta_async.cli.settings import Settings
from yotta_async.emulator import Emulator, FaultOptions, Timings

POD_COUNT = 40
PAUSED_EVERY_NTH = 5
POLL_INTERVAL_S = 0.4
TIMINGS_S = {"initialize": (0.5, 2.5), "pausing": (0.3, 0.9), "terminating": (0.2, 0.8)}
GPU_TYPE, FALLBACK_GPU_TYPE = "NVIDIA_GeForce_RTX_5090_32G", "NVIDIA_L4_24G"
FAULTS: list[FaultOptions] = [
    {"kind": "answer_lost_after_commit", "on": "create", "nth": 5},
    {"kind": "rate_limited", "on": "create", "nth": 9, "seconds": 1},
    {"kind": "failed", "nth": 13},
    {"kind": "html_502", "on": "list", "nth": (3, 4)},
]
FAULT_TEXTS = {
    "answer_lost_after_commit": "a lost response to a create: its pod was found, not made twice",
    "rate_limited": "a 429: the rate went down, and the create was repeated",
    "failed": "a pod that turned FAILED: deleted, and replaced by another GPU",
    "html_502": "two lists that were a proxy's HTML: the waits went on",
}


async def run_demo(settings: Settings, timeline: str) -> int:
    """Start forty pods, pause and resume some, delete all, and print which faults were survived."""
    started_at = time.monotonic()
    reporter = ProgressReporter(settings, POD_COUNT, timeline)
    async with (
        Emulator(timings=Timings(**TIMINGS_S), faults=FAULTS) as emulator,
        emulator.client(poll_interval=POLL_INTERVAL_S) as yotta,
    ):
        echo_err(f"{POD_COUNT} pods on an emulator: created, some paused and resumed, all deleted.")
        async with reporter.follow(yotta):
            created, price = await _run_pods(yotta, reporter)
        pods = await yotta.pods.list()
    faults = Counter(kind for request in emulator.requests for kind in request.faults)
    left = sum(pod.status != PodStatus.TERMINATED for pod in pods)
    survived = [text for kind, text in FAULT_TEXTS.items() if faults[kind]]
    duration_s = time.monotonic() - started_at
    if not settings.is_for_people:
        result = {
            "pods": POD_COUNT,
            "succeeded": len(created.succeeded),
            "made": len(pods),
            "left": left,
            "hourly_price": round(price, 4),
            "survived": survived,
            "requests": len(emulator.requests),
            "faults": sum(faults.values()),
            "seconds": round(duration_s, 3),
            "timeline": timeline,
        }
        print_value(settings.output, {"event": "summary", **result} if settings.output == "jsonl" else result)
        return ExitCode.DONE
    echo_err("")
    print_table(
        ("demo", ""),
        [
            ("pods", f"{len(created.succeeded)} of {POD_COUNT} ran, for ${price:.2f} an hour; {left} left"),
            ("made", f"{len(pods)}, of which one failed and was replaced"),
            *(("survived", text) for text in survived),
            ("requests", f"{len(emulator.requests)} over a real socket, {sum(faults.values())} with a fault"),
            ("in all", f"{duration_s:.1f} s"),
        ],
    )
    echo_err("The same code drives the API: see examples/quickstart.py.")
    return ExitCode.DONE


async def _run_pods(yotta: YottaClient, reporter: ProgressReporter) -> tuple[FanOutReport, float]:
    """Take all pods from create to delete; return the report of the creates, and the price while all ran."""
    specs = [
        {"image": "yottalabsai/pytorch:2.8.0", "gpu_type": GPU_TYPE, "pod_name": f"demo-{number:02}", "expose": [22]}
        for number in range(1, POD_COUNT + 1)
    ]
    created = await yotta.pods.create_many(
        specs,
        until=PodStatus.RUNNING,
        fallbacks=[{"gpu_type": FALLBACK_GPU_TYPE}],
        concurrency=8,
        on_event=reporter.on_item,
    )
    price = sum(item.pod.hourly_price or 0 for item in created.succeeded if item.pod)
    ids = [item.pod_id for item in created.succeeded if item.pod_id]
    some = ids[::PAUSED_EVERY_NTH]
    await yotta.pods.pause_many(some)
    await yotta.pods.wait_many(some, status=PodStatus.PAUSED)
    await yotta.pods.resume_many(some)
    await yotta.pods.wait_many(some)
    await yotta.pods.delete_many(ids)
    await yotta.pods.wait_many(ids, status=PodStatus.TERMINATED)
    return created, price
