"""yotta_async: the asyncio SDK for Yotta Labs GPU pods.

`async with YottaClient() as yotta:` gives `yotta.pods`, with a method for each thing that the API can do, and the waits
that it cannot. `yotta_async.emulator` serves the same API on this machine, without an account.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from yotta_async._version import __version__

if TYPE_CHECKING:
    from yotta_async.client import YottaClient
    from yotta_async.creation.reaper import ReapedPod, ReapReport
    from yotta_async.creation.signals import install_signal_handlers
    from yotta_async.errors import (
        APIError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        ConnectError,
        ConnectionLostError,
        CreateOutcomeUnknownError,
        FanOutError,
        InvalidRequestError,
        InvalidStateError,
        NotFoundError,
        PermissionDeniedError,
        PodFailedError,
        PodGoneError,
        ProtocolError,
        RateLimitError,
        RequestTimeoutError,
        ServerError,
        SpendLimitError,
        TransportError,
        WaitError,
        WaitTimeoutError,
        YottaError,
    )
    from yotta_async.fleet.report import FanOutItem, FanOutReport, OnEvent
    from yotta_async.fleet.spending import PlannedPod, PodPlan, SpendLimit
    from yotta_async.fleet.sweep import SweepReport
    from yotta_async.handle import PodHandle
    from yotta_async.models.enums import CloudType, ImagePublicType, ImageSource, ResourceType
    from yotta_async.models.ids import PodId
    from yotta_async.models.pod import EnvironmentVariable, ExposedPort, PersistentVolume, Pod
    from yotta_async.models.spec import PersistentVolumeRequest, PodFields, PodSpec, PortRequest
    from yotta_async.models.status import PodStatus, Statuses
    from yotta_async.pods import Pods
    from yotta_async.polling.waiter import OnChange
    from yotta_async.polling.watch import PodEvent
    from yotta_async.support.clock import Clock
    from yotta_async.transport.retry import RetryEvent, RetryPolicy
    from yotta_async.transport.session_pool import SessionPool

__all__ = [
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "Clock",
    "CloudType",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLostError",
    "CreateOutcomeUnknownError",
    "EnvironmentVariable",
    "ExposedPort",
    "FanOutError",
    "FanOutItem",
    "FanOutReport",
    "ImagePublicType",
    "ImageSource",
    "InvalidRequestError",
    "InvalidStateError",
    "NotFoundError",
    "OnChange",
    "OnEvent",
    "PermissionDeniedError",
    "PersistentVolume",
    "PersistentVolumeRequest",
    "PlannedPod",
    "Pod",
    "PodEvent",
    "PodFailedError",
    "PodFields",
    "PodGoneError",
    "PodHandle",
    "PodId",
    "PodPlan",
    "PodSpec",
    "PodStatus",
    "Pods",
    "PortRequest",
    "ProtocolError",
    "RateLimitError",
    "ReapReport",
    "ReapedPod",
    "RequestTimeoutError",
    "ResourceType",
    "RetryEvent",
    "RetryPolicy",
    "ServerError",
    "SessionPool",
    "SpendLimit",
    "SpendLimitError",
    "Statuses",
    "SweepReport",
    "TransportError",
    "WaitError",
    "WaitTimeoutError",
    "YottaClient",
    "YottaError",
    "__version__",
    "install_signal_handlers",
]

# Where the names are. Each is imported when it is first asked for: pytest loads this package, for its fixtures, in
# every run of whoever has it installed, and the command line starts without what it does not need.
_HOMES = {
    "transport.retry": "RetryEvent RetryPolicy",
    "transport.session_pool": "SessionPool",
    "client": "YottaClient",
    "errors": """
        APIError AuthenticationError BadRequestError ConfigurationError ConnectError
        ConnectionLostError CreateOutcomeUnknownError FanOutError InvalidRequestError InvalidStateError
        NotFoundError PermissionDeniedError PodFailedError PodGoneError ProtocolError RateLimitError
        RequestTimeoutError ServerError SpendLimitError TransportError WaitError WaitTimeoutError
        YottaError
    """,
    "fleet.report": "FanOutItem FanOutReport OnEvent",
    "handle": "PodHandle",
    "models.enums": "CloudType ImagePublicType ImageSource ResourceType",
    "models.ids": "PodId",
    "models.pod": "EnvironmentVariable ExposedPort PersistentVolume Pod",
    "creation.reaper": "ReapedPod ReapReport",
    "creation.signals": "install_signal_handlers",
    "models.spec": "PersistentVolumeRequest PodFields PodSpec PortRequest",
    "fleet.spending": "PlannedPod PodPlan SpendLimit",
    "models.status": "PodStatus Statuses",
    "fleet.sweep": "SweepReport",
    "pods": "Pods",
    "polling.waiter": "OnChange",
    "polling.watch": "PodEvent",
    "support.clock": "Clock",
}

if not TYPE_CHECKING:  # to a type checker it would say that every name is there

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names.split():
                value = getattr(importlib.import_module(f"yotta_async.{home}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'yotta_async' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
