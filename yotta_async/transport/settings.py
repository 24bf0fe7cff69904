"""Where the API is and what opens it: the base URL and the key, checked before they are used."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from typing import Any

from yarl import URL

from yotta_async.errors import ConfigurationError
from yotta_async.support.secrets import Secret, strip_traceback_frames

VENDOR_URL = "https://api.yottalabs.ai"


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by name or by number."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@strip_traceback_frames
def read_key(given: Secret[Any]) -> Secret[str]:
    """Return the key that was given, or for None the one of $YOTTA_API_KEY. No message quotes it."""
    from_environment = given.reveal() is None
    key = Secret(os.environ.get("YOTTA_API_KEY", "")) if from_environment else given
    source = "$YOTTA_API_KEY" if from_environment else "api_key"
    if not isinstance(key.reveal(), str):
        raise ConfigurationError(f"api_key must be text, not {type(key.reveal()).__name__}")
    if not key.reveal():
        raise ConfigurationError(
            "there is no API key: give api_key or set $YOTTA_API_KEY; to work without an account, use "
            "yotta_async.emulator.Emulator and its client()"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", key.reveal()):
        raise ConfigurationError(f"{source} holds a space, a line break or a character that no HTTP header can carry")
    return key


def account_name(url: URL, key: Secret[str]) -> str:
    """Return what tells one account's creates from another's in a journal: too few digits of a hash to be a secret."""
    return hashlib.sha256(f"{url} {key.reveal()}".encode()).hexdigest()[:8]


@strip_traceback_frames
def read_base_url(given: Secret[Any]) -> URL:
    """Return the base URL that was given, or for None that of $YOTTA_BASE_URL or the vendor's, without a final slash.

    No message quotes it, as it may hold a password.
    """
    text = given.reveal()
    if text is None:
        text = os.environ.get("YOTTA_BASE_URL") or VENDOR_URL
    if not isinstance(text, str) or re.search(r"[\x00-\x20\x7f\\]", text):
        raise ConfigurationError("base_url must be text without spaces, control characters and backslashes")
    try:
        url = URL(text.rstrip("/"))
        port, host = url.port, url.host or ""
    except Exception:  # noqa: BLE001  # yarl raises IndexError too
        port, host, url = None, "", URL()
    if url.scheme not in ("https", "http") or not host or port == 0:
        raise ConfigurationError(f"base_url must be a URL with a host, such as {VENDOR_URL}")
    if "@" in text.split("/")[2]:
        raise ConfigurationError("base_url must not hold a user name or a password; the key goes into api_key")
    if "?" in text or "#" in text:
        raise ConfigurationError("base_url must not hold a query or a fragment")
    if url.scheme == "http" and not is_loopback(host):
        raise ConfigurationError("base_url must be https: http shows the key to the network, and is for loopback only")
    return url
