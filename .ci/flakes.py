"""Run the tests many times, every second time beside two busy processes, and name every test that failed once.

Arguments: how often (20), then pytest's own: `nox -f .ci/noxfile.py -s flakes -- 20 tests/cli`.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

BUSY_PROCESSES = 2
BUSY = "while True: pass"


def run_once(arguments: list[str], *, beside_busy_processes: bool) -> tuple[bool, str]:
    """Run pytest, and return whether all passed, and its output."""
    count = BUSY_PROCESSES if beside_busy_processes else 0
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        command = [sys.executable, "-m", "pytest", "-n", "4", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return done.returncode == 0, done.stdout


def main() -> None:
    """Run, report, and exit with 1 if any test failed in any run."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    folder = Path(tempfile.mkdtemp(prefix="flakes-"))
    failures: Counter[str] = Counter()
    failed_runs = 0
    for number in range(1, times + 1):
        is_busy = number % 2 == 0
        began = time.monotonic()
        passed, output = run_once(sys.argv[2:], beside_busy_processes=is_busy)
        where = ", beside busy processes" if is_busy else ""
        line = f"run {number} of {times}{where}: {time.monotonic() - began:.0f} s"
        if passed:
            print(f"{line}, passed", flush=True)
            continue
        failed_runs += 1
        failures.update(set(re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)) or {"no test by name"})
        (folder / f"{number}.txt").write_text(output)
        print(f"{line}, FAILED: {folder / f'{number}.txt'}", flush=True)
    for test, count in failures.most_common():
        print(f"failed {count} times: {test}")
    print(f"{times - failed_runs} of {times} runs passed")
    sys.exit(1 if failed_runs else 0)


main()
