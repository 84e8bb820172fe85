"""Addresses: public ones are allowed, all others only where the operator names their network."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from serving.execute.addresses import AllowedAddresses, resolve

PUBLIC = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::5db8:d70e", "::ffff:93.184.215.14"]
PRIVATE = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_allowed(address: str) -> None:
    assert not AllowedAddresses().refuses(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert AllowedAddresses().refuses(address)


def test_network_that_is_named_is_allowed_and_no_other() -> None:
    allowed = AllowedAddresses(private=(ip_network("10.1.0.0/16"), ip_network("::1/128")))
    assert [allowed.refuses(address) for address in ("10.1.2.3", "::1", "::ffff:10.1.2.3")] == [False, False, False]
    assert [allowed.refuses(address) for address in ("10.2.0.1", "127.0.0.1", "fe80::1")] == [True, True, True]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "017700000001"])
async def test_way_of_writing_a_loopback_address_does_not_matter(host: str) -> None:
    addresses = await resolve(host, 80)
    assert addresses
    assert all(AllowedAddresses().refuses(address) for address in addresses)
