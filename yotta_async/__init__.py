"""Async Python SDK for Yotta Labs GPU pods.

`YottaClient` has the calls for pods in `yotta.pods` (`Pods`): create, wait, pause, resume, delete, and the same for
many pods. `yotta.gpus` (`Gpus`) lists the GPU types that can be rented.
`yotta_async.emulator` serves the API on this machine, without an account.

Example:
    ```python
    async with YottaClient() as yotta:
        async with yotta.pods.ephemeral(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G") as handle:
            print(handle.pod)
    ```

Attributes:
    PodId: What every method that takes a pod takes: its id as text or as a number, a Pod, or a PodHandle.
    Statuses: One status or several, each as a PodStatus, its name in any case, or its number in `statusList`.
    OnChange: A function or coroutine function that gets the Pod when a wait first sees its status, and on each change.
    OnEvent: A function or coroutine function that gets a FanOutItem when its outcome, or a step to it, is known.
    OnSignal: A function that gets the signal, and how many of them have come; for `install_signal_handlers`.
    Fallbacks: Changes to a spec that are tried in their order, or "available" for what the API says is available.
    PollInterval: Seconds between two polls, or a function that returns them from the seconds that a wait has lasted.
    Match: A shell pattern for the pod's name, or a function that returns whether a Pod is meant; for `Pods.sweep`.

"""

import lazy_loader

# Imported on first use: pytest loads this package for its fixtures in every run, and the command line starts faster
# without what it does not need. `__init__.pyi` has the names.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
