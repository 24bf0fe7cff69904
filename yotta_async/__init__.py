"""Async Python SDK for Yotta Labs GPU pods.

`YottaClient` has the calls for pods in `yotta.pods`: create, wait, pause, resume, delete, and the same for many pods.
`yotta.gpus` lists the GPU types that can be rented.
`yotta_async.emulator` serves the API on this machine, without an account.

Example:
    async with YottaClient() as yotta, yotta.pods.ephemeral(image="ubuntu:24.04", gpu_type="NVIDIA_L4_24G") as handle:
        print(handle.pod)

"""

import lazy_loader

# Imported on first use: pytest loads this package for its fixtures in every run, and the command line starts faster
# without what it does not need. `__init__.pyi` has the names.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
