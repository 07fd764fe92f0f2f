"""Which network addresses are the public internet's, and so may be called on a setting's word."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Public by the registries, yet answered inside a cloud: Azure's host agent, Oracle's metadata.
CLOUD_INTERNAL = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; its last 32 bits are an IPv4 address


def is_literal(host: str) -> bool:
    """Whether a host is an address and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Whether a literal address is global, whichever IPv6 spelling an IPv4 one hides in."""
    if not is_literal(address):
        return False
    plain = _unwrapped(ip_address(address))
    if isinstance(plain, IPv4Address) and any(plain in net for net in CLOUD_INTERNAL):
        return False
    # is_global alone lets multicast pass, and reserved ranges such as ::127.0.0.1.
    return plain.is_global and not plain.is_multicast and not plain.is_reserved


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
