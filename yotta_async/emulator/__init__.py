"""An emulator of the Yotta Labs API on this machine: the same wire, pods that cost nothing, and a clock to turn."""

from yotta_async.emulator.clock import EmulatorClock
from yotta_async.emulator.emulator import Emulator
from yotta_async.emulator.server import RecordedRequest
from yotta_async.emulator.state import Timings

__all__ = ["Emulator", "EmulatorClock", "RecordedRequest", "Timings"]
