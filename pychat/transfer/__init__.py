"""The transfer engine: one file from one end to the other over datagrams that may be lost.

Nothing here reads a clock, opens a socket or knows Twisted.  Time is an argument (`now`, float seconds of
a monotonic clock), randomness is injected, trains of datagrams go in by ``receive`` and come out of ``poll``, and
``deadline`` says when ``poll`` wants to be called again.  `docs/transfer.md` has every byte and every timer.

============================  =================================================================
`terms`                       what both ends agreed on beforehand, how a transfer can end, counters
`packet`, `frames`            the bytes of a packet: header, sealed frames; what the frames say
`fragments`                   packets that are larger than a datagram
`ranges`                      sets of integers kept as half-open ranges
`roundtrip`                   the round-trip time, and the timeouts that follow from it (RFC 9002 §5)
`congestion`                  how much may be in flight: an interface and controllers to choose from
`pacer`                       a bucket of bytes that fills with time
`path`                        where the other end is, and the proof of it (RFC 9000 §8)
`mtu`                         how large a datagram the path takes (RFC 8899)
`words`, `arrivals`           what has to arrive and is repeated; what has arrived and is acknowledged
`pausing`                     which end has it rest
`endpoint`                    what both ends do alike
`recovery`, `outgoing`        trains under way: what arrived, what was lost; what the sender holds of the file
`pieces`, `telling`           which pieces of the file are known, here, and right; what the sender tells of them
`sender`, `receiver`          the two ends
============================  =================================================================
"""
