"""What `yotta-async gpus` does. A GPU type is printed as an object with the fields of `yotta_async.GpuOffer`."""

from __future__ import annotations

import attrs

from yotta_async import GpuOffer
from yotta_async.cli.printing import echo_err, format_usd, pluralize, print_table, print_value, strip_control
from yotta_async.cli.run import ExitCode
from yotta_async.cli.settings import Settings, open_client

GPU_COLUMNS = ("gpu type", "name", "GB", "$/h", "available in")


async def list_gpus(settings: Settings, *, region: str | None) -> int:
    """List GPU types in the chosen form, and return the exit code."""
    async with open_client(settings) as yotta:
        offers = await yotta.gpus.list(region=region)
    if not settings.is_for_people:
        print_value(settings.output, [attrs.asdict(offer) for offer in offers])
    else:
        print_table(GPU_COLUMNS, map(_offer_to_row, offers))
        available = sum(bool(offer.available_regions) for offer in offers)
        where = "somewhere" if region is None else f"in {strip_control(region)}"
        echo_err(f"{pluralize(len(offers), 'GPU type')}, {available} of them available {where}.")
        if any(offer.hourly_price is None for offer in offers):
            echo_err("A price is known (not ?) if a pod of the account has the GPU type.")
    return ExitCode.DONE


def _offer_to_row(offer: GpuOffer) -> tuple[str, ...]:
    """Return the cells of an offer, by GPU_COLUMNS."""
    cells = (
        offer.gpu_type,
        offer.display_name,
        "?" if offer.vram_in_gb is None else str(offer.vram_in_gb),
        format_usd(offer.hourly_price),
        ", ".join(offer.available_regions),
    )
    return tuple(map(strip_control, cells))
