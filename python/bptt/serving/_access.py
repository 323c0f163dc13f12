"""Who may use the server: the token, and which pages of browsers."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping

from bptt.serving._messages import RequestError

_SCHEME = "bearer "


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Access:
    """Checks of headers, before anything else is read.

    Parameters
    ----------
    token : str, optional
        Bearer token of all clients; None for none.
    origins : collection of str
        Origins of pages on other hosts that may connect, such as "https://example.org".
    host : str
        Host that the server is bound to.
    """

    def __init__(
        self, token: str | None = None, origins: Collection[str] = (), host: str = "127.0.0.1"
    ) -> None:
        self._token = None if token is None else token.encode()
        self._origins = frozenset(origins)
        self._loopback = is_loopback(host)

    @property
    def needs_token(self) -> bool:
        """Whether clients need the token."""
        return self._token is not None

    def check_page(self, headers: Mapping[str, str]) -> None:
        """Check that no page of another host, open in a browser, sends this.

        A name of another host that is resolved to this machine (DNS rebinding) counts as another.

        Raises
        ------
        RequestError
            If one does.
        """
        host = headers.get("host", "")
        if self._loopback and self._token is None and not is_loopback(_without_port(host)):
            raise RequestError(403, "the host must be localhost or 127.0.0.1", "host")
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if origin.partition("://")[2] != host:
            raise RequestError(403, "pages of other hosts may not connect", "origin")

    def check_header(self, headers: Mapping[str, str]) -> None:
        """Check the token in the header "Authorization".

        Raises
        ------
        RequestError
            If it is missing or wrong.
        """
        header = headers.get("authorization", "")
        has_token = header[: len(_SCHEME)].lower() == _SCHEME
        self.check_token(header[len(_SCHEME) :].strip() if has_token else None)

    def check_token(self, token: object) -> None:
        """Check a token, in a time that does not depend on its content.

        Raises
        ------
        RequestError
            If it is missing or wrong.
        """
        if self._token is None:
            return
        if not isinstance(token, str):
            raise RequestError(401, "needs the header Authorization: Bearer TOKEN", "token")
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token):
            raise RequestError(401, "the token is wrong", "token")


def _without_port(host: str) -> str:
    """Return the name in a header "Host"."""
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.rpartition(":")[0] or host
