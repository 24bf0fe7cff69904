"""`yotta-async pods …`: the commands and their options; what they do is in work.py."""

from __future__ import annotations

from typing import Any

import click

from yotta_async.cli.exits import CODES, run
from yotta_async.cli.settings import Settings, common
from yotta_async.cli.specs import spec_options

STATUSES = ("INITIALIZE", "RUNNING", "PAUSING", "PAUSED", "TERMINATING", "TERMINATED", "FAILED")

show_secrets = click.option(
    "--show-secrets", is_flag=True, help="Show values of variables and initialization commands."
)
timeline = click.option(
    "--timeline", metavar="FILE", help="Draw what happens, a bar for each pod, into FILE.svg or FILE.html."
)
wait = click.option("--wait", is_flag=True, help="Wait until it is done; --timeout says how long.")
yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
every = click.option("--all", "everything", is_flag=True, help="Every pod for which it makes sense.")
match = click.option("--match", metavar="PATTERN", help="With --all: only those of this name, such as 'train-*'.")


@click.group(epilog=CODES)
@common
def pods() -> None:
    """Create, see, wait for, pause, resume and delete pods.

    Example: yotta-async pods list --status RUNNING
    """


@pods.command("list", epilog=CODES)
@common
@click.option("--region", multiple=True, help="Only in this region; may be repeated.")
@click.option("--status", multiple=True, help="Only in this status, by name or number; may be repeated.")
@click.option("--match", metavar="PATTERN", help="Only of this name, such as 'train-*'.")
@show_secrets
@click.pass_obj
def list_(settings: Settings, /, **options: Any) -> None:
    """List the pods, the last change first.

    Example: yotta-async pods list --status RUNNING -o json | jq '.[].id'
    """
    from yotta_async.cli import work

    run(work.list_pods(settings, **options), settings)


@pods.command(epilog=CODES)
@common
@click.argument("pod_id")
@show_secrets
@click.pass_obj
def get(settings: Settings, /, pod_id: str, **options: Any) -> None:
    """Show one pod.

    Example: yotta-async pods get 331864222263676928 -o json
    """
    from yotta_async.cli import work

    run(work.get_pod(settings, pod_id, **options), settings)


@pods.command(epilog=CODES)
@common
@spec_options
@click.option(
    "--from",
    "path",
    type=click.Path(exists=True, dir_okay=False),
    help="A pod's fields, or a list of them: YAML or JSON.",
)
@click.option("--count", type=click.IntRange(min=1), help="So many; the answer is a report then.")
@click.option("--wait", is_flag=True, help="Wait until they run; --timeout says how long (900).")
@click.option(
    "--policy",
    default="best_effort",
    show_default=True,
    help="What is good enough: best_effort, all_or_nothing, or how many; less, and all are deleted again.",
)
@click.option("--fallback", multiple=True, metavar="gpu=…,region=…", help="What to try where there is no capacity.")
@click.option("--max-hourly", type=click.FloatRange(min=0), help="US dollars an hour that the account may cost in all.")
@click.option("--price", multiple=True, metavar="GPU=USD", help="Of one GPU an hour, where the account has none yet.")
@click.option("--volume-price", type=click.FloatRange(min=0), help="Of one GB of a volume an hour, likewise.")
@click.option("--concurrency", default=32, show_default=True, type=click.IntRange(min=1), help="Creates in flight.")
@timeline
@show_secrets
@click.pass_obj
def create(settings: Settings, /, **options: Any) -> None:
    """Create a pod, or many.

    Examples: yotta-async pods create --image ubuntu:24.04 --gpu-type NVIDIA_L4_24G --expose 22:SSH --wait

      yotta-async pods create --from fleet.yaml --count 40 --wait --policy 30 --timeline run.svg

    A journal of creates is kept, by which `yotta-async reap` finds what a killed command left.
    """
    from yotta_async.cli import creating

    run(creating.create(settings, options), settings)


@pods.command("wait", epilog=CODES)
@common
@click.argument("pod_ids", nargs=-1, required=True)
@click.option(
    "--status", multiple=True, default=["RUNNING"], show_default=True, help="For this status; may be repeated."
)
@click.option("--ready", is_flag=True, help="Until it runs and its ports accept connections.")
@timeline
@show_secrets
@click.pass_obj
def wait_(settings: Settings, /, **options: Any) -> None:
    """Wait for pods; --timeout says how long (600 s).

    Example: yotta-async pods wait 331864222263676928 --status PAUSED --timeout 120
    """
    from yotta_async.cli import work

    run(work.wait_for(settings, **options), settings)


@pods.command(epilog=CODES)
@common
@click.argument("pod_ids", nargs=-1)
@every
@match
@wait
@timeline
@click.pass_obj
def pause(settings: Settings, /, **options: Any) -> None:
    """Pause pods, which keep their volumes and stop costing for their GPUs.

    Example: yotta-async pods pause --all --match 'train-*' --wait
    """
    from yotta_async.cli import work

    run(work.change(settings, "pause", **options), settings)


@pods.command(epilog=CODES)
@common
@click.argument("pod_ids", nargs=-1)
@every
@match
@wait
@timeline
@click.pass_obj
def resume(settings: Settings, /, **options: Any) -> None:
    """Start paused pods again.

    Example: yotta-async pods resume 331864222263676928 --wait
    """
    from yotta_async.cli import work

    run(work.change(settings, "resume", **options), settings)


@pods.command(epilog=CODES)
@common
@click.argument("pod_ids", nargs=-1)
@every
@match
@wait
@yes
@timeline
@click.pass_obj
def delete(settings: Settings, /, **options: Any) -> None:
    """Delete pods, for good. Asks first.

    Example: yotta-async pods delete --all --match 'train-*' --wait --yes
    """
    from yotta_async.cli import work

    run(work.change(settings, "delete", **options), settings)


@pods.command(epilog=CODES)
@common
@click.argument("pod_ids", nargs=-1)
@timeline
@show_secrets
@click.pass_obj
def watch(settings: Settings, /, **options: Any) -> None:
    """Show what changes, of these pods or of all, until Ctrl-C; --timeout ends it too.

    Example: yotta-async pods watch -o jsonl
    """
    from yotta_async.cli import work

    run(work.watch(settings, **options), settings)


@pods.command(epilog=CODES)
@common
@click.option("--older-than", metavar="SPAN", help="Whose last change is so long ago: 90s, 30m, 2h or 3d.")
@click.option("--idle-status", multiple=True, help="In this status; may be repeated.")
@match
@click.option("--action", type=click.Choice(["pause", "delete"]), default="pause", show_default=True)
@click.option("--dry-run", is_flag=True, help="Show which, and change nothing.")
@yes
@click.pass_obj
def sweep(settings: Settings, /, **options: Any) -> None:
    """Pause or delete what nobody needs any more.

    Example: yotta-async pods sweep --older-than 12h --match 'ci-*' --action delete --dry-run
    """
    from yotta_async.cli import work

    run(work.sweep(settings, **options), settings)
