"""An emulator of the Yotta Labs API on this machine: the same wire, pods that cost nothing, and a clock to turn.

Attributes:
    FaultKind: What a fault does; `Faults` lists the kinds.
    FaultTarget: The endpoint whose requests a fault affects, in every version of the API.

Example:
    ```python
    async with Emulator(clock="auto") as emulator, emulator.client() as yotta:
        print(await yotta.pods.list())
    ```

"""

from yotta_async.emulator.billing import BillingRecord
from yotta_async.emulator.clock import EmulatorClock
from yotta_async.emulator.emulator import Emulator
from yotta_async.emulator.faults import Fault, FaultKind, FaultOptions, Faults, FaultTarget
from yotta_async.emulator.runtime import RecordedExit
from yotta_async.emulator.server import RecordedRequest
from yotta_async.emulator.statuses import Timings

__all__ = [
    "BillingRecord",
    "Emulator",
    "EmulatorClock",
    "Fault",
    "FaultKind",
    "FaultOptions",
    "FaultTarget",
    "Faults",
    "RecordedExit",
    "RecordedRequest",
    "Timings",
]
