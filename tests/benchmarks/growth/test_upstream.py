import ipaddress

import pytest

from benchmarks.growth import upstream
from benchmarks.growth.upstream import ADDRESSES


def test_two_thousand_upstreams_have_addresses_of_their_own_on_loopback() -> None:
    found = upstream.addresses(8001, ADDRESSES)
    assert len(set(found)) == ADDRESSES
    hosts = [each.removesuffix(":8001") for each in found]
    assert all(ipaddress.ip_address(host).is_loopback for host in hosts)
    assert hosts[0] == "127.0.0.1"


@pytest.mark.parametrize("count", [0, ADDRESSES + 1])
def test_more_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"{count} upstreams: there are 1 to {ADDRESSES}"):
        upstream.addresses(8001, count)
