"""Which addresses tools may connect to: public ones, and the private networks that the operator names.

A name is judged by what it resolves to at the moment of connecting, and the connection goes to the very address that
was judged: a name server that answers differently the second time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, best first. Raises `OSError` where there are none."""

TRANSLATED = ip_network("64:ff9b::/96")
"""IPv6 addresses that a network's NAT64 turns into the IPv4 address in their last four bytes."""


@dataclass(frozen=True, kw_only=True)
class AllowedAddresses:
    """What may be connected to: every public address, and `private`, which are networks that are not public."""

    private: tuple[Network, ...] = ()

    def refuses(self, text: str) -> bool:
        """Whether an address, as the resolver writes it, must not be connected to."""
        address = inner(ip_address(text.partition("%")[0]))
        if any(address in network for network in self.private):
            return False
        return not address.is_global or address.is_multicast


def inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, if it does: a packet to it ends up there."""
    if isinstance(address, IPv4Address):
        return address
    if address in TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
