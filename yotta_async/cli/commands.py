"""Every command with its options. What a command does is in the file that its function names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from yotta_async._version import __version__
from yotta_async.cli.run import EXIT_CODES_HELP, run
from yotta_async.cli.settings import Settings, add_common_options, complete_profiles

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Imports in the commands' functions keep --help, --version and completion quick.

Decorator: TypeAlias = Callable[[Callable[..., Any]], Any]


# Names that people know from other tools.
ALIASES = {"ls": "list", "ps": "list", "rm": "delete"}
POINTER = "`yotta-async --help` has the options of every command, and the exit codes."


class PodsGroup(click.Group):
    """The commands of `pods`, by their names and aliases."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name."""
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))


class RootGroup(click.Group):
    """All commands. Those of `pods` work without that word: `yotta-async ls` is `yotta-async pods list`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name."""
        return super().get_command(ctx, cmd_name) or pods.get_command(ctx, cmd_name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands and options, and once a letter is typed the commands of `pods` too."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.isalpha():
            found += pods.shell_complete(click.Context(pods, parent=ctx), incomplete)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed, and for a misspelt one name those like it, also of `pods`."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            from difflib import get_close_matches

            similar = get_close_matches(args[0], [*self.commands, *pods.commands, *ALIASES])
            if similar:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(similar)}?")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands before the many options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)


@click.group(
    cls=RootGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES_HELP,
)
@click.version_option(__version__, prog_name="yotta-async")
def cli() -> None:
    """Rent GPU pods from Yotta Labs, or emulate them on this machine.

    The options below may stand before or after a command's name. The commands of `pods` work without that word, and ls
    and rm are list and delete: `yotta-async ls`.
    """


@cli.group(cls=PodsGroup, epilog=POINTER)
def pods() -> None:
    """Create, see, wait for, go into, pause, resume and delete pods.

    Example: yotta-async pods list --status RUNNING
    """


class SshCommand(click.Command):
    """A command whose options end at the command for the pod, as with ssh: `pods ssh ID ls -l`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put a `--` before the command for the pod, if there is none: its options are not those of ours."""
        options_only = click.Command(self.name, params=[each for each in self.params if isinstance(each, click.Option)])
        rest, place = args, len(args)
        for _ in ("the id", "the command"):
            parser = options_only.make_parser(ctx)
            parser.allow_interspersed_args = False
            _, rest, _ = parser.parse_args([*rest])
            place, rest = len(args) - len(rest), rest[1:]
        if "--" not in args[:place]:
            args = [*args[:place], "--", *args[place:]]
        return super().parse_args(ctx, args)


def command(group: click.Group, name: str | None = None, cls: type[click.Command] = click.Command) -> Decorator:
    """Make a function of settings and its own options a command, with the options of every command after those."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = group.command(name, cls=cls, epilog=POINTER)(click.pass_obj(function))
        add_common_options(made, hidden=True)
        return made

    return decorate


def complete(what: str) -> Callable[..., list[CompletionItem]]:
    """Return the function that completes pods, statuses, policies, gpu_types or regions for a shell."""

    def run_completion(*arguments: Any) -> list[CompletionItem]:
        from yotta_async.cli import completion

        found: list[CompletionItem] = getattr(completion, f"complete_{what}")(*arguments)
        return found

    return run_completion


add_common_options(cli)
add_common_options(pods, hidden=True)

show_secrets = click.option(
    "--show-secrets", is_flag=True, help="Show values of variables and initialization commands."
)
timeline = click.option(
    "--timeline", metavar="FILE", help="Draw what happens, a bar for each pod, into FILE.svg or FILE.html."
)
wait = click.option("--wait", is_flag=True, help="Wait until it is done; --timeout says how long.")
yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
everything = click.option("--all", "everything", is_flag=True, help="Every pod for which it makes sense.")
match = click.option("--match", metavar="PATTERN", help="Only pods with such a name, as in 'train-*'; needs --all.")
pod_ids = click.argument("pod_ids", nargs=-1, metavar="[POD_ID]...", shell_complete=complete("pods"))
dry_run = click.option("--dry-run", is_flag=True, help="Show which pods, and change nothing.")


# The API's emulator, and checks


@command(cli)
@click.option(
    "--timeline", default="yotta-demo.svg", show_default=True, help="Where to draw a timeline: .svg or .html."
)
def demo(settings: Settings, /, timeline: str) -> None:
    """Run 40 pods through their life on the emulator, with a few faults. Takes some 10 seconds and costs nothing.

    Example: yotta-async demo
    """
    from yotta_async.cli.demo import run_demo

    run(run_demo(settings, timeline), settings)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The loopback address to listen on.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--state", metavar="FILE", help="Keep pods and balance in this file, and go on from what it holds.")
@click.option("--control", is_flag=True, help="Serve /_emulator/ too: clock, faults, record, state.")
@click.option(
    "--clock", default="real", show_default=True, type=click.Choice(["real", "manual"]), help="What moves time."
)
@click.option("--seed", default=0, show_default=True, help="For ids and times.")
@click.option(
    "--balance", type=float, help="US dollars of a new account; at zero all pods are terminated. [default: unlimited]"
)
@click.option(
    "--capacity",
    multiple=True,
    metavar="GPU[@REGION]=N",
    help="How many GPUs of a type there are. [default: unlimited]",
)
@click.option(
    "--scarcity",
    default="fail",
    show_default=True,
    type=click.Choice(["fail", "refuse"]),
    help="What a create does when there are too few: its pod turns FAILED, or it is refused.",
)
@click.option(
    "--runtime",
    default="simulated",
    show_default=True,
    type=click.Choice(["simulated", "process"]),
    help="process RUNS every pod's initialization command ON THIS MACHINE, with your rights.",
)
@click.option(
    "--api-key",
    envvar="YOTTA_EMULATOR_API_KEY",
    show_envvar=True,
    help="The key that requests must have. [default: emulator-key; with --runtime process a random one, printed]",
)
@click.option(
    "--strict", is_flag=True, help="Refuse GPU types that the catalogue does not have, and unknown fields of a create."
)
@click.option(
    "--v2-environment-vars",
    default="shown",
    show_default=True,
    type=click.Choice(["shown", "hidden"]),
    help="Whether pods in version 2 of the API show their environment variables.",
)
@click.option(
    "--v2-statuses",
    default="reference",
    show_default=True,
    type=click.Choice(["reference", "guide"]),
    help="guide: version 2 of the API says INITIALIZING and STOPPED instead of INITIALIZE and PAUSED.",
)
def emulator(**options: Any) -> None:
    """Serve the API's emulator on this machine until Ctrl-C.

    Examples: yotta-async emulator --port 8787

      yotta-async emulator --state pods.db --capacity NVIDIA_L4_24G=4 --balance 20
    """
    from yotta_async.cli.servers import serve_emulator

    run(serve_emulator(**options), Settings(), is_server=True)


@command(cli)
def doctor(settings: Settings, /) -> None:
    """Check key, host, proxy, certificates, clock, latency and versions. Costs nothing.

    Example: yotta-async doctor
    """
    from yotta_async.cli.doctor import diagnose

    run(diagnose(settings), settings)


# Profiles


@cli.group(invoke_without_command=True, epilog=EXIT_CODES_HELP)
@click.pass_context
def config(context: click.Context) -> None:
    """Show each setting and where it comes from; change the profiles in the config file.

    A setting comes from the first of these that has it: an option; the profile of --profile; an environment variable;
    the profile of $YOTTA_PROFILE, or the default one; the default.

    Examples: yotta-async config --profile work

      yotta-async config set-key --profile local --base-url http://127.0.0.1:8787
    """
    if context.invoked_subcommand is None:
        from yotta_async.cli.config import show_config

        run(show_config(context.obj), context.obj)


add_common_options(config)
profile_name = click.argument("name", metavar="NAME", shell_complete=complete_profiles)


@command(config, "set-key")
@click.option(
    "--store",
    type=click.Choice(["keyring", "file"]),
    help="Where to keep it. [default: the system's keyring if the extra keyring is installed, else the file]",
)
@click.argument("arguments", nargs=-1, metavar="")
def set_key(settings: Settings, /, arguments: tuple[str, ...], **options: Any) -> None:
    """Store the API key of a profile. Asks for it, or reads it from stdin.

    Makes the profile if there is none. Keeps --base-url, --api-version, --proxy and --ca-file with it, where given.

    Example: yotta-async config set-key --profile work
    """
    from yotta_async.cli.config import set_key

    if arguments:  # not quoted: people type the key here
        raise click.UsageError(
            "the key is asked for, or read from stdin: other users and the shell's history see arguments"
        )
    run(set_key(settings, **options), settings)


@command(config, "list")
def list_profiles(settings: Settings, /) -> None:
    """List the profiles of the config file.

    Example: yotta-async config list
    """
    from yotta_async.cli.config import list_profiles

    run(list_profiles(settings), settings)


@command(config)
@profile_name
def use(settings: Settings, /, name: str) -> None:
    """Make a profile the default one.

    Example: yotta-async config use work
    """
    from yotta_async.cli.config import use_profile

    run(use_profile(name), settings)


@command(config)
@profile_name
@yes
def remove(settings: Settings, /, name: str, *, yes: bool) -> None:
    """Remove a profile and its key.

    Example: yotta-async config remove work --yes
    """
    from yotta_async.cli.config import remove_profile

    run(remove_profile(name, yes=yes), settings)


@command(cli)
@dry_run
@yes
@click.option("--journal", help="The journal's directory. [default: $YOTTA_JOURNAL, or one of the user's own]")
def reap(settings: Settings, /, journal: str | None, *, dry_run: bool, yes: bool) -> None:
    """Delete the pods that killed processes left behind, and no others.

    Finds them in the journal of creates: pods that no living process holds, and that were neither handed over nor
    deleted. Shows them and asks first; without a terminal it needs --yes.

    Example: yotta-async reap --dry-run
    """
    from yotta_async.cli.reap import reap_pods

    run(reap_pods(settings, journal, dry_run=dry_run, yes=yes), settings)


@command(cli, "mcp")
@click.option("--http", metavar="HOST:PORT", help="Serve streamable HTTP here. [default: stdio]")
@click.option(
    "--token",
    envvar="YOTTA_MCP_TOKEN",
    help="With --http: the bearer token of clients. [default: $YOTTA_MCP_TOKEN, or a random one, which is printed]",
)
@click.option(
    "--confirm-above",
    type=click.FloatRange(min=0, max=1e6),
    default=5.0,
    show_default=True,
    help="Ask for a confirmation of creates that cost more US dollars an hour, or whose price is unknown.",
)
@click.option("--prices", metavar="FILE", help="JSON: US dollars an hour for a GPU, by type.")
@click.option("--max-pods", type=click.IntRange(min=0), help="Refuse creates beyond this many pods in the account.")
@click.option(
    "--max-hourly", type=click.FloatRange(min=0, max=1e6), help="Refuse creates beyond this many US dollars an hour."
)
@click.option("--read-only", is_flag=True, help="Refuse every change.")
@click.option("--delete-on-exit", is_flag=True, help="Delete at the end what the session created.")
def mcp(settings: Settings, /, **options: Any) -> None:
    """Serve the tools for agents by the Model Context Protocol (extra mcp), until the client goes.

    Example: yotta-async mcp --max-pods 4 --max-hourly 10
    """
    from yotta_async.cli.servers import serve_mcp

    run(serve_mcp(settings, **options), settings, is_server=True)


# GPU types


@command(cli)
@click.argument("action", metavar="[list]", required=False, type=click.Choice(["list"]))
@click.option("--region", help="Only types that this region has.")
def gpus(settings: Settings, /, action: str | None, region: str | None) -> None:  # noqa: ARG001  # there is one action
    """List the GPU types that can be rented, and where they are available.

    Examples: yotta-async gpus

      yotta-async gpus list --region us-east-1 -o json | jq '.[].gpu_type'
    """
    from yotta_async.cli.gpus import list_gpus

    run(list_gpus(settings, region=region), settings)


# Pods


@command(pods, "list")
@click.option(
    "--region", multiple=True, shell_complete=complete("regions"), help="Only in this region; may be repeated."
)
@click.option(
    "--status",
    multiple=True,
    shell_complete=complete("statuses"),
    help="Only in this status, by name or number; may be repeated.",
)
@click.option("--match", metavar="PATTERN", help="Only pods with such a name, as in 'train-*'.")
@click.option("--all", "-a", "everything", is_flag=True, help="TERMINATED pods too.")
@click.option("--quiet", "-q", is_flag=True, help="Only the ids, one on each line.")
@click.option("--watch", "-w", is_flag=True, help="Go on showing changes, until Ctrl-C or --timeout.")
@show_secrets
def list_(settings: Settings, /, **options: Any) -> None:
    """List the pods, the last change first. Also: ls.

    The price of a PAUSED pod is that of its volumes, and ? is a price that is unknown.

    Example: yotta-async pods list --status RUNNING -o json | jq '.[].id'
    """
    from yotta_async.cli.pods import list_pods

    run(list_pods(settings, **options), settings, is_endless=options["watch"])


@command(pods)
@click.argument("pod_id", shell_complete=complete("pods"))
@show_secrets
def get(settings: Settings, /, **options: Any) -> None:
    """Show one pod: the fields that matter, or with -o wide, json or yaml all of them.

    Example: yotta-async pods get 331864222263676928 -o json
    """
    from yotta_async.cli.pods import get_pod

    run(get_pod(settings, **options), settings)


@command(pods)
@click.option("--image", help="The container's image, such as yottalabsai/pytorch:2.8.0.")
@click.option("--gpu-type", shell_complete=complete("gpu_types"), help="Such as NVIDIA_L4_24G.")
@click.option("--gpu-count", type=int, help="A power of two.")
@click.option("--name", help="The pod's name; each of several gets a number.")
@click.option("--region", multiple=True, shell_complete=complete("regions"), help="Where it may be; may be repeated.")
@click.option(
    "--env", multiple=True, metavar="KEY=VALUE", help="An environment variable; KEY alone takes its value from here."
)
@click.option("--env-file", type=click.Path(exists=True, dir_okay=False), help="Variables, one KEY=VALUE per line.")
@click.option("--expose", multiple=True, metavar="PORT[:PROTOCOL]", help="A port to expose, such as 22:SSH.")
@click.option("--init-command", help="What the pod runs when it starts.")
@click.option("--log", is_flag=True, help="Keep what the initialization command writes, for `pods logs`.")
@click.option("--shm-gb", type=int, help="Shared memory, in GB.")
@click.option("--container-volume-gb", type=int, help="The container's volume, in GB.")
@click.option("--persistent-volume-gb", type=int, help="A persistent volume, in GB; needs --persistent-mount-path.")
@click.option("--persistent-mount-path", help="Where the persistent volume is mounted.")
@click.option("--image-public-type", help="PUBLIC, or PRIVATE for a registry that wants credentials.")
@click.option("--registry-username", help="For a private registry.")
@click.option(
    "--registry-token", help="For a private registry. Better: $YOTTA_REGISTRY_TOKEN, for pods with a user name alone."
)
@click.option("--credential-id", help="Credentials for a private registry that the account keeps.")
@click.option(
    "--from",
    "path",
    type=click.Path(exists=True, dir_okay=False),
    help="A file with a pod's fields or a list of pods, in YAML or JSON. Options win over its fields, each time with a "
    "line that says so.",
)
@click.option("--count", type=click.IntRange(min=1), help="How many; prints a report then.")
@click.option("--wait", is_flag=True, help="Wait until they run; --timeout says how long (900).")
@click.option(
    "--policy",
    default="best_effort",
    show_default=True,
    shell_complete=complete("policies"),
    help="What is enough: best_effort, all_or_nothing, or a number of pods; with fewer, all are deleted again.",
)
@click.option(
    "--fallback",
    multiple=True,
    metavar="gpu=TYPE,region=NAME",
    help="What to try if there is no capacity; may be repeated. 'available' tries what `yotta-async gpus` shows.",
)
@click.option("--max-hourly", type=click.FloatRange(min=0), help="US dollars an hour that the account may cost in all.")
@click.option("--price", multiple=True, metavar="GPU=USD", help="For one GPU an hour, if the account has none yet.")
@click.option("--volume-price", type=click.FloatRange(min=0), help="For one GB of a volume an hour, likewise.")
@click.option("--concurrency", default=32, show_default=True, type=click.IntRange(min=1), help="Creates in flight.")
@timeline
@show_secrets
def create(settings: Settings, /, **options: Any) -> None:
    """Create a pod, or many.

    Examples: yotta-async pods create --image ubuntu:24.04 --gpu-type NVIDIA_L4_24G --expose 22:SSH --wait

      yotta-async pods create --from fleet.yaml --count 40 --wait --policy 30 --timeline run.svg

    Ctrl-C, SIGTERM and SIGHUP delete what was created. A journal of creates is kept, by which `yotta-async reap` finds
    what a killed command left.
    """
    from yotta_async.cli.create import create_pods

    run(create_pods(settings, **options), settings)


@command(pods, "wait")
@click.argument("pod_ids", nargs=-1, required=True, metavar="POD_ID...", shell_complete=complete("pods"))
@click.option(
    "--status",
    multiple=True,
    default=["RUNNING"],
    show_default=True,
    shell_complete=complete("statuses"),
    help="For this status; may be repeated.",
)
@click.option("--ready", is_flag=True, help="Until it runs and its ports accept connections.")
@timeline
@show_secrets
def wait_(settings: Settings, /, **options: Any) -> None:
    """Wait for pods; --timeout says how long (600 s).

    Example: yotta-async pods wait 331864222263676928 --status PAUSED --timeout 120
    """
    from yotta_async.cli.changes import wait_for_pods

    run(wait_for_pods(settings, **options), settings)


@command(pods)
@pod_ids
@everything
@match
@wait
@timeline
def pause(settings: Settings, /, **options: Any) -> None:
    """Pause pods, which keep their volumes and stop costing for their GPUs.

    Example: yotta-async pods pause --all --match 'train-*' --wait
    """
    from yotta_async.cli.changes import change_pods

    run(change_pods(settings, "pause", **options), settings)


@command(pods)
@pod_ids
@everything
@match
@wait
@timeline
def resume(settings: Settings, /, **options: Any) -> None:
    """Start paused pods again.

    Example: yotta-async pods resume 331864222263676928 --wait
    """
    from yotta_async.cli.changes import change_pods

    run(change_pods(settings, "resume", **options), settings)


@command(pods)
@pod_ids
@everything
@match
@wait
@yes
@timeline
def delete(settings: Settings, /, **options: Any) -> None:
    """Delete pods, for good. Asks first; without a terminal it needs --yes. Also: rm.

    Example: yotta-async pods delete --all --match 'train-*' --wait --yes
    """
    from yotta_async.cli.changes import change_pods

    run(change_pods(settings, "delete", **options), settings)


@command(pods)
@pod_ids
@timeline
@show_secrets
def watch(settings: Settings, /, **options: Any) -> None:
    """Show changes of these pods, or of all, until Ctrl-C; --timeout ends it too.

    Example: yotta-async pods watch -o jsonl
    """
    from yotta_async.cli.pods import watch_pods

    run(watch_pods(settings, **options), settings, is_endless=True)


@command(pods)
@click.option("--older-than", metavar="DURATION", help="Whose last change is this long ago: 90s, 30m, 2h or 3d.")
@click.option(
    "--idle-status", multiple=True, shell_complete=complete("statuses"), help="In this status; may be repeated."
)
@click.option("--match", metavar="PATTERN", help="With such a name, as in 'ci-*'.")
@click.option("--action", type=click.Choice(["pause", "delete"]), default="pause", show_default=True)
@dry_run
@yes
def sweep(settings: Settings, /, **options: Any) -> None:
    """Pause or delete pods that are not needed any more. Shows them and asks first; without a terminal it needs --yes.

    Example: yotta-async pods sweep --older-than 12h --match 'ci-*' --action delete --dry-run
    """
    from yotta_async.cli.changes import sweep_pods

    run(sweep_pods(settings, **options), settings)


# Into a pod


pod_id = click.argument("pod_id", metavar="ID", shell_complete=complete("pods"))
wait_until_reachable = click.option(
    "--wait", is_flag=True, help="Wait until the pod can be reached; --timeout says how long (600 s)."
)


def ssh_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of commands that use ssh."""
    for option in (
        wait_until_reachable,
        click.option("-l", "--user", help="Log in as this user. [default: the one that the API names]"),
        click.option(
            "-i",
            "--identity",
            "key",
            metavar="KEY",
            type=click.Path(exists=True, dir_okay=False),
            help="The private key. [default: as ssh is configured]",
        ),
    ):
        function = option(function)
    return function


@command(pods, cls=SshCommand)
@pod_id
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@ssh_options
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal, as programs such as htop need.")
def ssh(settings: Settings, /, **options: Any) -> None:
    """Open a shell in a pod, or run a command in it, by this machine's ssh. Its options stand before that command.

    Examples: yotta-async pods ssh 331864222263676928 --wait -i ~/.ssh/id_ed25519

      yotta-async pods ssh 331864222263676928 nvidia-smi -L

    The exit status is that of ssh: the command's own, or 255 if the connection failed.
    """
    from yotta_async.cli.ssh_commands import open_shell

    run(open_shell(settings, **options), settings, is_endless=True)


@command(pods)
@click.argument("paths", metavar="SRC... DST", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Copy directories with what is in them.")
@ssh_options
def cp(settings: Settings, /, **options: Any) -> None:
    """Copy files to a pod or from it, by this machine's scp. A path in a pod is ID:PATH.

    Examples: yotta-async pods cp train.py 331864222263676928:/workspace/

      yotta-async pods cp -r 331864222263676928:/workspace/results .
    """
    from yotta_async.cli.ssh_commands import copy_files

    run(copy_files(settings, **options), settings, is_endless=True)


@command(pods, "port-forward")
@pod_id
@click.argument("ports", metavar="LOCAL:REMOTE...", nargs=-1, required=True)
@ssh_options
def port_forward(settings: Settings, /, **options: Any) -> None:
    """Forward ports of this machine to ports in a pod, by ssh, until Ctrl-C.

    The ports in the pod need not be exposed, except the one for ssh. 0:REMOTE takes a free local port.

    Example: yotta-async pods port-forward 331864222263676928 8888:8888 6006:6006
    """
    from yotta_async.cli.ssh_forward import forward_ports

    run(forward_ports(settings, **options), settings, is_endless=True)


@command(pods, "open")
@pod_id
@click.argument("port", metavar="PORT", type=click.IntRange(1, 65535))
@click.option("--print", "only_print", is_flag=True, help="Only print the URL.")
@wait_until_reachable
def open_(settings: Settings, /, **options: Any) -> None:
    """Show an HTTP port of a pod in the browser.

    Example: yotta-async pods open 331864222263676928 8888
    """
    from yotta_async.cli.open_port import open_port

    run(open_port(settings, **options), settings)


@command(pods)
@pod_id
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help="Only the last lines. [default: all]")
@ssh_options
def logs(settings: Settings, /, **options: Any) -> None:
    """Print what a pod's initialization command has written, by ssh.

    The API keeps no logs: the pod must be created with --log.

    Example: yotta-async pods logs 331864222263676928 -f
    """
    from yotta_async.cli.ssh_logs import print_log

    run(print_log(settings, **options), settings, is_endless=True)
