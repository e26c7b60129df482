"""Who may ask: tokens, host names and pages of other sites. Knows no routes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from hmac import compare_digest
from urllib.parse import urlsplit

from labelwise.config import ServeConfig
from labelwise.errors import ConfigError
from labelwise.serve.problems import ApiError

COOKIE = b"labelwise_session"
MIN_TOKEN_CHARS = 32
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
Headers = Mapping[bytes, bytes]


def check_binding(config: ServeConfig, token: str | None) -> None:
    """Refuse to open a server to other machines without a token.

    Raises:
        ConfigError: It would be, or the token is weak.
    """
    if token is not None and (len(token) < MIN_TOKEN_CHARS or not token.isascii()):
        raise ConfigError(
            f"The token has {len(token)} characters. Expected {MIN_TOKEN_CHARS} or more, ASCII "
            "only. Make one: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if token is None and not config.insecure and not is_loopback(config.host):
        raise ConfigError(
            f"Host '{config.host}' lets other machines in, and there is no token. Expected one. "
            "Set LABELWISE_TOKEN or --token-file, listen on 127.0.0.1, or say --insecure."
        )


def is_loopback(host: str) -> bool:
    """Tell whether an address reaches this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cookie_name(host: bytes) -> bytes:
    """Name the cookie of a server: browsers send cookies to every port of a host.

    Args:
        host: The ``Host`` header.

    >>> cookie_name(b"127.0.0.1:8000")
    b'labelwise_session_8000'
    """
    port = host.rpartition(b":")[2]
    return b"%s_%s" % (COOKIE, port) if port.isdigit() else COOKIE


def session_cookie(token: str) -> str:
    """Return the cookie value that stands for a token in a browser."""
    return hmac.new(token.encode(), COOKIE, hashlib.sha256).hexdigest()


class Access:
    """Decides on requests by their headers.

    Args:
        config: Names and addresses.
        token: What callers must show, if anything.
    """

    def __init__(self, config: ServeConfig, token: str | None) -> None:
        """Compile the lists."""
        names = {name.strip().lower() for name in config.allowed_hosts.split(",")}
        self._all_hosts = "*" in names
        self._hosts = (_LOOPBACK | names | {config.host.lower()}) - {"", "*"}
        self._takes_addresses = not is_loopback(config.host)
        self._token = token.encode() if token is not None else None
        self._cookie = session_cookie(token).encode() if token is not None else b""

    def check(self, method: str, headers: Headers) -> None:
        """Refuse foreign hosts and requests that pages of other sites make.

        Raises:
            ApiError: 400 for the host, 403 for the site.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._is_known(host):
            raise ApiError(
                400,
                "The Host header names no host of this server. Expected its address. "
                "Add the name with --allowed-hosts.",
                code="unknown_host",
            )
        if method not in _SAFE_METHODS and _is_cross_site(host, headers):
            raise ApiError(
                403,
                "A page of another site made this request. Expected one of this server, or a "
                "client outside a browser.",
                code="cross_site",
            )

    def check_token(self, headers: Headers) -> None:
        """Refuse requests that show no token, where there is one.

        Raises:
            ApiError: 401.
        """
        if self._token is None or self._shows_token(headers):
            return
        raise ApiError(
            401,
            "The request shows no valid token. Expected the header 'Authorization: Bearer TOKEN'.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _shows_token(self, headers: Headers) -> bool:
        given = _given_token(headers.get(b"authorization", b""))
        by_token = compare_digest(given, self._token or b"")
        by_cookie = compare_digest(_given_cookie(headers), self._cookie)
        return by_token or by_cookie

    def _is_known(self, host: str) -> bool:
        if self._all_hosts:
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if not host or "@" in host or "/" in host:
            return False
        return name in self._hosts or (self._takes_addresses and _is_address(name))


def _is_address(name: str) -> bool:
    """An address can't be forged by rebinding a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_cross_site(host: str, headers: Headers) -> bool:
    if headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
        return True
    origin = headers.get(b"origin")
    if origin is None:
        return False
    scheme, _, authority = origin.decode("latin-1").lower().partition("://")
    return scheme not in ("http", "https") or authority != host


def _given_token(authorization: bytes) -> bytes:
    """The token in a header: Bearer, or Basic with the token as password."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _given_cookie(headers: Headers) -> bytes:
    """The value of this server's own cookie."""
    wanted = cookie_name(headers.get(b"host", b""))
    for part in headers.get(b"cookie", b"").split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == wanted:
            return value
    return b""
