"""The ssh address of a pod, and the URL of an HTTP port: what is read of the API's texts, and what is refused."""

from __future__ import annotations

import os

import pytest

from yotta_async import ExposedPort, InvalidRequestError, Pod, ProtocolError, SshAddress

GUIDE = "ssh user@34.19.26.12 -p 32002 -i <private key file>"


@pytest.mark.parametrize(
    ("command", "host", "port", "user"),
    [
        (GUIDE, "34.19.26.12", 32002, "user"),
        (f"  {GUIDE}\n", "34.19.26.12", 32002, "user"),
        ("ssh -p 2222 root@pod-7.yottalabs.ai", "pod-7.yottalabs.ai", 2222, "root"),
        ("ssh -p2222 -l root pod_7.example", "pod_7.example", 2222, "root"),
        ("ssh -i '/home/me/my key' -- root@1.2.3.4 -p 7", "1.2.3.4", 7, "root"),
        ("ssh host", "host", 22, None),
        ("ssh -o StrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null root@1.2.3.4", "1.2.3.4", 22, "root"),
        ("ssh root@2001:db8::1 -p 7", "2001:db8::1", 7, "root"),
    ],
)
def test_ssh_command_is_read(command: str, host: str, port: int, user: str | None) -> None:
    assert Pod(id="7", ssh_cmd=command).ssh == SshAddress(host=host, port=port, user=user)


HOSTILE = [
    "ssh -oProxyCommand=id root@1.2.3.4",
    "ssh -o StrictHostKeyChecking=no -o LocalCommand=id root@1.2.3.4",
    "ssh -o 'StrictHostKeyChecking=no LocalCommand=id' root@1.2.3.4",
    "ssh -o ProxyCommand=id root@1.2.3.4",
    "ssh root@1.2.3.4 -oProxyCommand=id",
    "ssh -F /tmp/config root@1.2.3.4",
    "ssh -J other root@1.2.3.4",
    "ssh -- -oProxyCommand=id",
    "ssh -p 22 -- -oProxyCommand=id -p 22",
    "ssh -l -oProxyCommand=id 1.2.3.4",
    "ssh -oProxyCommand=id@1.2.3.4",
    "ssh -- -oProxyCommand=id@1.2.3.4",
    "ssh root@-oProxyCommand=id",
    "ssh root@1.2.3.4 rm -rf /",
    "ssh root@1.2.3.4; id",
    "ssh root@1.2.3.4;id",
    "ssh root@1.2.3.4 && id",
    "ssh root@1.2.3.4\nid",
    "ssh root@1.2.3.4\r-oProxyCommand=id",
    "ssh root@1.2.3.4\x1b[2J",
    "ssh root@$(id)",
    "ssh `id`@1.2.3.4",
    "ssh 'ro ot'@1.2.3.4",
    "ssh root@'1.2.3.4 -oProxyCommand=id'",
    "ssh root@1.2.3.4 -p 22 -p 23",
    "ssh -l root user@1.2.3.4",
    "ssh -l a -l b 1.2.3.4",
    "ssh root@other@1.2.3.4",
    "ssh root@1.2.3.4 -p -oProxyCommand=id",
    "ssh root@1.2.3.4 -p 0",
    "ssh root@1.2.3.4 -p 65536",
    "ssh root@1.2.3.4 -p 22x",
    "ssh root@1.2.3.4 -p \N{ARABIC-INDIC DIGIT TWO}",
    "ssh r\N{LATIN SMALL LETTER O WITH DIAERESIS}t@1.2.3.4",
    "ssh root@ex\N{CYRILLIC SMALL LETTER A}mple.com",
    "ssh root@fe80::1%eth0",
    "ssh root@%h",
    "ssh ssh://root@1.2.3.4:22",
    "ssh 'root@1.2.3.4",
    "ssh",
    "ssh -p 22",
    "sudo ssh root@1.2.3.4",
    "/tmp/ssh root@1.2.3.4",
    "ssh <-oProxyCommand=id>@1.2.3.4;id",
    "ssh " + "a" * 5000,
]


@pytest.mark.parametrize("command", HOSTILE)
def test_hostile_ssh_command_is_refused_with_the_pods_name(command: str) -> None:
    with pytest.raises(ProtocolError, match="for pod 331864222263676928 is refused") as raised:
        _ = Pod(id="331864222263676928", ssh_cmd=command, expose=(ExposedPort(port=22, host="h", proxy_port=1),)).ssh
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


def test_options_are_read_alike_with_posixly_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "POSIXLY_CORRECT", "1")
    assert Pod(id="7", ssh_cmd=GUIDE).ssh == SshAddress(host="34.19.26.12", port=32002, user="user")


@pytest.mark.parametrize("ssh_cmd", [None, "", " "])
def test_exposed_port_stands_in_for_an_empty_ssh_command(ssh_cmd: str | None) -> None:
    def ssh_of(*ports: ExposedPort) -> SshAddress | None:
        return Pod(id="7", ssh_cmd=ssh_cmd, expose=ports).ssh

    web = ExposedPort(port=8080, host="h", proxy_port=5, protocol="HTTP")
    assert ssh_of() is None
    assert ssh_of(web) is None
    assert ssh_of(web, ExposedPort(port=22)) is None  # no address yet
    assert ssh_of(web, ExposedPort(port=22, host="h", proxy_port=7)) == SshAddress(host="h", port=7)
    assert ssh_of(ExposedPort(port=2222, host="h", proxy_port=7, protocol="ssh")) == SshAddress(host="h", port=7)
    by_ingress = ssh_of(ExposedPort(port=22, host="h", proxy_port=7, ingress_url=GUIDE))
    assert by_ingress == SshAddress(host="34.19.26.12", port=32002, user="user")
    with pytest.raises(ProtocolError, match="for pod 7 is refused"):
        ssh_of(ExposedPort(port=22, host="-oProxyCommand=id", proxy_port=7))
    with pytest.raises(ProtocolError, match="for pod 7 is refused"):
        ssh_of(ExposedPort(port=22, host="h", proxy_port=70_000))


@pytest.mark.parametrize("wrong", [{"host": "-x"}, {"host": ""}, {"host": "h", "user": "-x"}, {"host": "h", "port": 0}])
def test_address_cannot_be_made_of_options(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        SshAddress(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_address_as_text() -> None:
    assert str(SshAddress(host="1.2.3.4", port=7, user="root")) == "root@1.2.3.4:7"
    assert str(SshAddress(host="::1")) == "[::1]:22"


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"ingress_url": "https://7-8080.pods.example/"}, "https://7-8080.pods.example/"),
        ({"ingress_url": "http://127.0.0.1:32003", "protocol": "TCP"}, "http://127.0.0.1:32003"),
        ({"protocol": "HTTP", "host": "1.2.3.4", "proxy_port": 32003}, "http://1.2.3.4:32003"),
        ({"protocol": "https", "host": "::1", "proxy_port": 443}, "https://[::1]:443"),
        ({"protocol": "HTTP", "host": "h", "proxy_port": 1, "ingress_url": "h:1"}, "http://h:1"),
        ({"protocol": "TCP", "host": "1.2.3.4", "proxy_port": 32003}, None),
        ({"protocol": "HTTP"}, None),
        ({"protocol": "HTTP", "host": "-x", "proxy_port": 1}, None),
        ({"protocol": "SSH", "ingress_url": GUIDE}, None),
        *(
            ({"ingress_url": text}, None)
            for text in (
                "file:///etc/passwd", "javascript:alert(1)", "http://bank.example@1.2.3.4/", "http://-x/", "http://",
                "http://h:99999/", "http://[::1", "http://h/ --option", "http://h/\n", "http://h\N{CYRILLIC SMALL LETTER A}/",
            )
        ),
    ],
)  # fmt: skip
def test_ingress_is_the_url_of_an_http_port(fields: dict[str, object], url: str | None) -> None:
    assert ExposedPort(port=8080, **fields).ingress == url  # type: ignore[arg-type]  # fields of a table
