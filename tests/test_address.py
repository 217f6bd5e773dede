"""Addresses as people write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.address import format_host_port, parse_host_port, same_host
from tests.chatkit import examples


class Addresses(SynchronousTestCase):
    """`parse_host_port` and `format_host_port`."""

    def test_same_host(self) -> None:
        """An IPv4 address is the same in IPv6's clothes; what is no address is nobody's."""
        self.assertTrue(same_host("192.0.2.1", "::ffff:192.0.2.1"))
        self.assertTrue(same_host("2001:db8::1", "2001:DB8:0::1"))
        self.assertFalse(same_host("192.0.2.1", "192.0.2.2"))
        self.assertFalse(same_host("", "192.0.2.1"))
        self.assertFalse(same_host("", ""))

    def test_forms(self) -> None:
        """Host, host and port, IPv6 with brackets or without; a port of 0 lets the system choose."""
        for text, host, port in [
            ("localhost", "localhost", 50000),
            ("chat.example:1", "chat.example", 1),
            ("10.0.0.1:65535", "10.0.0.1", 65535),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("::1", "::1", 50000),
            ("fe80::1%eth0", "fe80::1%eth0", 50000),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1", 50000),
            ("[::1]", "::1", 50000),
            ("[fe80::1%eth0]:7", "fe80::1%eth0", 7),
        ]:
            self.assertEqual(parse_host_port(text), (host, port), text)
        self.assertEqual(parse_host_port("localhost", 9), ("localhost", 9))

    def test_no_address(self) -> None:
        """What is no address is refused with a sentence for a person."""
        for text in (
            "",
            ":",
            ":50000",
            "host:",
            "host:x",
            "host:-1",
            "a:b:c",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "[::1]:",
        ):
            self.assertIn("HOST:PORT", str(self.assertRaises(ValueError, parse_host_port, text)), text)
        for text in ("host:65536", "[::1]:99999999"):
            self.assertIn("not a port", str(self.assertRaises(ValueError, parse_host_port, text)), text)

    @examples(100)
    @given(
        st.one_of(
            st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True),
            st.ip_addresses().map(str),
            st.sampled_from(["fe80::1%eth0", "::"]),
        ),
        st.integers(0, 65535),
    )
    def test_round_trip(self, host: str, port: int) -> None:
        """What is formatted parses to what it was."""
        self.assertEqual(parse_host_port(format_host_port(host, port)), (host, port))
