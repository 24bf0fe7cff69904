"""SkyPilot's own provisioner for Yotta, unmodified, launches two nodes, queries them and terminates them.

`test_skypilot.py` runs this with a Python that has SkyPilot: `python skypilot_program.py URL`. `import sky` alone would
import every cloud of SkyPilot; so the packages above the provisioner are empty here, and what it imports is real.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any


def import_provisioner() -> tuple[Any, Any, Any]:
    """Return the modules of the provisioner: the package, its instances and its client."""
    spec = importlib.util.find_spec("sky")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    for name in ("sky", "sky.provision", "sky.backends"):
        package: Any = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    sys.modules["sky"].__dict__.update(__version__="0.14.1", __commit__="unknown", __root_dir__=str(folder))
    importlib.import_module("sky.backends.backend")  # in this order as `import sky` does: they import each other
    names = ("sky.provision.yotta", "sky.provision.yotta.instance", "sky.provision.yotta.yotta_utils")
    provisioner, instance, client = map(importlib.import_module, names)
    return provisioner, instance, client


def main(url: str) -> None:
    """Launch, query and terminate a cluster, and print what the provisioner returns, as JSON."""
    provisioner, instance, client = import_provisioner()
    client.ENDPOINT = f"{url}/openapi"
    instance.POLL_INTERVAL = 0.1  # seconds
    config = importlib.import_module("sky.provision.common").ProvisionConfig(
        provider_config={},
        authentication_config={"ssh_user": "root"},
        docker_config={},
        node_config={
            "InstanceType": "2x28v238g_NVIDIA_GeForce_RTX_5090_32G_SECURE",
            "ImageId": "ubuntu:24.04",
            "DiskSize": 100,
            "PublicKey": "ssh-ed25519 AAAA test",
        },
        count=2,
        tags={},
        resume_stopped_nodes=True,
        ports_to_open_on_launch=[8080],
    )
    shown: dict[str, Any] = {
        "key": client.yotta_client.check_api_key(),
        "before": client.yotta_client.list_instances("c"),
    }
    record = provisioner.run_instances("us-east-2", "c", "c", config)
    shown["created"], shown["head"] = record.created_instance_ids, record.head_instance_id
    info = provisioner.get_cluster_info("us-east-2", "c", {})
    shown["info_head"] = info.head_instance_id
    shown["ssh_ports"] = {name: nodes[0].ssh_port for name, nodes in info.instances.items()}
    shown["again"] = provisioner.run_instances("us-east-2", "c", "c", config).created_instance_ids
    statuses = provisioner.query_instances("c", "c", {})
    shown["statuses"] = {name: status.value for name, (status, _) in statuses.items()}
    shown["ports"] = sorted(provisioner.query_ports("c", ["8080"], provider_config={}))
    provisioner.terminate_instances("c", {})
    statuses = provisioner.query_instances("c", "c", {})
    shown["terminated"] = {name: status.value for name, (status, _) in statuses.items()}
    print(json.dumps(shown))  # noqa: T201  # its result


if __name__ == "__main__":
    main(sys.argv[1])
