"""Connections to public addresses alone: a feed may name what only this machine or its network can reach.

Each connection is made to the address that was checked, so no redirect and no second answer of the DNS gets by.
"""

import contextlib
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from scripts.apps.tagger.sources.contract import SourceError

NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Anybody on the internet would reach the same; of IPv6 addresses that hold one of IPv4, that one counts."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in NAT64 else ip.ipv4_mapped or ip.sixtofour
        if inner:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def public_addresses(host: str, port: int) -> list[str]:
    """All that a name has, or a number in any of the ways that the system reads.

    Raises
    ------
    SourceError : one of them is not public.
    socket.gaierror, UnicodeError : there is no such name.
    """
    addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)]
    for address in addresses:
        if not is_public(address):
            message = f"{host[:100]} is at {address}, which is not a public address; allow it (--allow-private)"
            raise SourceError(message, "not a public address")
    return addresses


class PublicConnection(HTTPConnection):
    """To a public address; also the base of the one with TLS, for which the certificate is that of the name."""

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            addresses = public_addresses(name, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(name, self, error) from error
        try:
            for address in addresses[:-1]:
                with contextlib.suppress(NewConnectionError, ConnectTimeoutError):
                    return self.connect_to(address)
            return self.connect_to(addresses[-1])
        finally:
            self._dns_host = name

    def connect_to(self, address: str) -> socket.socket:
        self._dns_host = address
        return super()._new_conn()


class PublicTLSConnection(PublicConnection, HTTPSConnection):
    pass


class PublicPool(HTTPConnectionPool):
    ConnectionCls = PublicConnection


class PublicTLSPool(HTTPSConnectionPool):
    ConnectionCls = PublicTLSConnection


class PublicAdapter(HTTPAdapter):
    """For `requests`. A proxy connects by itself: there, only what this machine finds out about a name counts."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **settings: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": PublicPool, "https": PublicTLSPool}

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        url = request.url or ""
        if select_proxy(url, proxies):
            with contextlib.suppress(socket.gaierror):  # a name that only the proxy knows
                public_addresses(urlsplit(url).hostname or "", 0)
        return super().send(request, stream, timeout, verify, cert, proxies)
