"""Async Python SDK for Yotta Labs GPU pods.

`YottaClient` has the calls for pods in `yotta.pods`: create, wait, pause, resume, delete, and the same for many pods.
`yotta_async.emulator` serves the API on this machine, without an account.

Example:
    async with YottaClient() as yotta, yotta.pods.ephemeral(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G") as handle:
        print(handle.pod)

"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from yotta_async._version import __version__

if TYPE_CHECKING:
    from yotta_async.client import YottaClient
    from yotta_async.creation.ephemeral import Ephemeral
    from yotta_async.creation.reaper import ReapedPod, ReapReport
    from yotta_async.creation.signals import OnSignal, install_signal_handlers
    from yotta_async.errors import (
        APIError,
        AuthenticationError,
        BadRequestError,
        CapacityError,
        ConfigurationError,
        ConnectError,
        ConnectionLostError,
        InvalidRequestError,
        InvalidStateError,
        NotFoundError,
        PermissionDeniedError,
        ProtocolError,
        RateLimitError,
        RequestTimeoutError,
        ServerError,
        SpendLimitError,
        TransportError,
        YottaError,
    )
    from yotta_async.fleet.limit import SpendLimit
    from yotta_async.fleet.report import FanOutError, FanOutItem, FanOutReport, OnEvent, RolledBackError
    from yotta_async.fleet.spending import PlannedPod, PodPlan
    from yotta_async.fleet.sweep import Match, SweepReport
    from yotta_async.handle import CreateOutcomeUnknownError, PodHandle
    from yotta_async.models.enums import CloudType, ImagePublicType, ImageSource, ResourceType
    from yotta_async.models.ids import PodId
    from yotta_async.models.pod import EnvironmentVariable, ExposedPort, PersistentVolume, Pod
    from yotta_async.models.prices import total_hourly_price
    from yotta_async.models.spec import PersistentVolumeRequest, PodFields, PodSpec, PortRequest
    from yotta_async.models.status import PodStatus, Statuses
    from yotta_async.pods import Pods
    from yotta_async.polling.subscription import PollInterval
    from yotta_async.polling.wait_errors import PodFailedError, PodGoneError, WaitError, WaitTimeoutError
    from yotta_async.polling.waiter import OnChange
    from yotta_async.polling.watch import PodEvent
    from yotta_async.support.clock import Clock
    from yotta_async.transport.retry import RetryEvent, RetryPolicy
    from yotta_async.transport.session_pool import SessionPool

__all__ = [
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "CapacityError",
    "Clock",
    "CloudType",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLostError",
    "CreateOutcomeUnknownError",
    "EnvironmentVariable",
    "Ephemeral",
    "ExposedPort",
    "FanOutError",
    "FanOutItem",
    "FanOutReport",
    "ImagePublicType",
    "ImageSource",
    "InvalidRequestError",
    "InvalidStateError",
    "Match",
    "NotFoundError",
    "OnChange",
    "OnEvent",
    "OnSignal",
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
    "PollInterval",
    "PortRequest",
    "ProtocolError",
    "RateLimitError",
    "ReapReport",
    "ReapedPod",
    "RequestTimeoutError",
    "ResourceType",
    "RetryEvent",
    "RetryPolicy",
    "RolledBackError",
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
    "total_hourly_price",
]

# The module of each name, which is imported on first use: pytest loads this package for its fixtures in every run, and
# the command line starts faster without what it does not need.
_HOMES = {
    "transport.retry": "RetryEvent RetryPolicy",
    "transport.session_pool": "SessionPool",
    "client": "YottaClient",
    "errors": """
        APIError AuthenticationError BadRequestError CapacityError ConfigurationError ConnectError
        ConnectionLostError InvalidRequestError InvalidStateError
        NotFoundError PermissionDeniedError ProtocolError RateLimitError
        RequestTimeoutError ServerError SpendLimitError TransportError YottaError
    """,
    "fleet.limit": "SpendLimit",
    "fleet.report": "FanOutError FanOutItem FanOutReport OnEvent RolledBackError",
    "handle": "CreateOutcomeUnknownError PodHandle",
    "models.enums": "CloudType ImagePublicType ImageSource ResourceType",
    "models.ids": "PodId",
    "models.pod": "EnvironmentVariable ExposedPort PersistentVolume Pod",
    "creation.ephemeral": "Ephemeral",
    "creation.reaper": "ReapedPod ReapReport",
    "creation.signals": "OnSignal install_signal_handlers",
    "models.prices": "total_hourly_price",
    "models.spec": "PersistentVolumeRequest PodFields PodSpec PortRequest",
    "fleet.spending": "PlannedPod PodPlan",
    "models.status": "PodStatus Statuses",
    "fleet.sweep": "Match SweepReport",
    "pods": "Pods",
    "polling.subscription": "PollInterval",
    "polling.waiter": "OnChange",
    "polling.wait_errors": "PodFailedError PodGoneError WaitError WaitTimeoutError",
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
