"""A Dask cluster whose workers are pods (extra `dask`)."""

try:
    from yotta_async.dask.cluster import PodCluster
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("cryptography", "dask", "distributed", "tornado"):
        raise
    raise ImportError(f"yotta_async.dask needs {error.name}: pip install 'yotta-async[dask]'") from None

__all__ = ["PodCluster"]
