"""The create protocol in many simulated worlds: `python -m benchmarks.simulation --seeds 10000`.

Each seed is a world of its own, with up to 24 creates, faults, cancels and crashes (`tests/simulation.py` says what is
simulated). Prints how often each fault fired, and every seed whose world broke an invariant.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections import Counter

from tests.simulation import Violation, simulate


def run(seed: int) -> tuple[int, int, int, Counter[str], str]:
    """Run one world, and return its seed, intents, pods made for them, fired faults, and violation if there was one."""
    logging.getLogger("yotta_async").propagate = False
    try:
        world = simulate(seed)
    except Violation as violation:
        return seed, 0, 0, Counter(), str(violation)
    return seed, world.intents, sum(pod.token in world.makers for pod in world.pods.values()), world.fired, ""


def main() -> None:
    """Run the worlds on all cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    arguments = parser.parse_args()
    began = time.perf_counter()
    intents = pods = broken = 0
    fired: Counter[str] = Counter()
    with multiprocessing.Pool() as pool:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        for seed, its_intents, its_pods, its_faults, violation in pool.imap_unordered(run, seeds, chunksize=50):
            intents += its_intents
            pods += its_pods
            fired += its_faults
            if violation:
                broken += 1
                print(f"seed {seed}: {violation}", flush=True)
    seconds = time.perf_counter() - began
    print(f"{arguments.seeds:,} worlds, {intents:,} creates asked for, {pods:,} pods made, in {seconds:.0f} s")
    print("; ".join(f"{kind} {count:,}" for kind, count in fired.most_common()))
    print(f"{broken} worlds with a duplicate, an orphan, or another broken invariant")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
