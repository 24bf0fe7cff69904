"""`python -m benchmarks`: run all; `python -m benchmarks NAME`: run one."""

import importlib
import sys

NAMES = ("hub", "fan_out")


def main() -> None:
    """Run what is named."""
    names = sys.argv[1:] or NAMES
    for name in names:
        if name not in NAMES:
            sys.exit(f"there is no benchmark {name!r}; there are {', '.join(NAMES)}")
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main()


main()
