"""How a pod is reached by ssh: the address, and how it is read from the API's `sshCmd`.

Servers write `sshCmd`, and programs pass its parts to `ssh`. So it is parsed for user, host and port, and never run.
What could be an option or shell text is refused.
"""

from __future__ import annotations

import getopt
import ipaddress
import re
import shlex
from urllib.parse import urlsplit

import attrs

from yotta_async.errors import InvalidRequestError
from yotta_async.models.validators import Field, integer, refuses_clearly

SSH_PORT = 22
MAX_PORT = 65535
_MAX_COMMAND_CHARS = 2000
_HOST_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?"
_USER_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
_HARMLESS_SETTING = r"(StrictHostKeyChecking|UserKnownHostsFile|IdentitiesOnly|LogLevel|ServerAlive\w+)=[\w/.]+"
_PLACEHOLDER = r"<[A-Za-z0-9 ._-]*>"  # `-i <private key file>`


def is_host(text: str) -> bool:
    """Return whether the text is a host name or an IP address: no option, no shell text, no URL."""
    if re.fullmatch(_HOST_NAME, text):
        return True
    try:
        return ":" in text and "%" not in text and ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def is_http_url(text: str) -> bool:
    """Return whether the text is a URL of a web page, without user or password."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        url = urlsplit(text)
        has_valid_port = url.port is None or url.port > 0
    except ValueError:
        return False
    return url.scheme in ("http", "https") and has_valid_port and "@" not in url.netloc and is_host(url.hostname or "")


def _validate_host(_: object, __: Field, value: object) -> None:
    if not isinstance(value, str) or not is_host(value):
        raise InvalidRequestError(f"a host is a host name or an IP address, not {_quote(value)}")


def _validate_user(_: object, __: Field, value: object) -> None:
    if value is not None and not (isinstance(value, str) and re.fullmatch(_USER_NAME, value)):
        raise InvalidRequestError(f"a user is letters, digits, '.', '_' and '-', not {_quote(value)}")


@refuses_clearly
@attrs.frozen(kw_only=True, weakref_slot=False)
class SshAddress:
    """Where a pod's ssh server is, in parts that are safe as arguments of a program.

    Attributes:
        host: A host name or an IP address.
        port: The port on that host.
        user: The user to log in as; None where the API names none.

    Raises:
        InvalidRequestError: A part begins with `-`, or has a character that no host or user name has.
    """

    host: str = attrs.field(validator=_validate_host)
    port: int = attrs.field(default=SSH_PORT, validator=integer(1, MAX_PORT, optional=False))
    user: str | None = attrs.field(default=None, validator=_validate_user)

    def __str__(self) -> str:
        """Return the address as `user@host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}" if self.user else f"{host}:{self.port}"


def parse_ssh_command(text: str) -> SshAddress:
    """Return the address in a text such as `ssh user@34.19.26.12 -p 32002 -i <private key file>`.

    Known options are `-p`, `-l`, and two that are ignored: `-i`, and `-o` with a setting that starts no program.

    Raises:
        InvalidRequestError: It has another form, another option, or a command for the pod.
    """
    try:
        return _parse(text)
    except (ValueError, getopt.GetoptError) as error:  # also InvalidRequestError
        form = "ssh [USER@]HOST [-p PORT] [-l USER] [-i KEY]"
        raise InvalidRequestError(f"{_quote(text)} is not {form}: {error}") from None


def _parse(text: str) -> SshAddress:
    text = text.strip()
    if len(text) > _MAX_COMMAND_CHARS:
        raise ValueError("it is too long")
    if not text.isascii() or not text.isprintable():
        raise ValueError("it has characters that are not printable ASCII")
    program, *rest = shlex.split(re.sub(_PLACEHOLDER, "KEY", text))
    if program != "ssh":
        raise ValueError("it does not begin with ssh")
    given: dict[str, list[str]] = {"-p": [], "-l": [], "-i": [], "-o": []}
    destinations = []
    while rest:  # options may follow the host
        options, rest = getopt.getopt(rest, "p:l:i:o:")
        for option, value in options:
            given[option].append(value)
        destinations += rest[:1]
        rest = rest[1:]
    if not all(re.fullmatch(_HARMLESS_SETTING, setting) for setting in given["-o"]):
        raise ValueError("it has an option that may start a program")
    if len(destinations) != 1 or len(given["-p"]) > 1:
        raise ValueError("it must name one host and at most one port")
    user, at, host = destinations[0].rpartition("@")
    users = given["-l"] + [user] * bool(at)
    if len(users) > 1:
        raise ValueError("it names more than one user")
    port = given["-p"][0] if given["-p"] else str(SSH_PORT)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= MAX_PORT:
        raise ValueError(f"its port is not a number from 1 to {MAX_PORT}")
    return SshAddress(host=host, port=int(port), user=users[0] if users else None)


def _quote(value: object) -> str:
    """Return a value for an error: short, and without a character that could move a cursor."""
    return ascii(value[:80]) if isinstance(value, str) else type(value).__name__
