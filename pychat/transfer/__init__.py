"""The transfer engine: one file from one end to the other over datagrams that may be lost.

Nothing here reads a clock, opens a socket or knows Twisted.  Time is an argument (`now`, float seconds of
a monotonic clock), randomness is injected, datagrams go in by ``receive`` and come out of ``poll``, and
``deadline`` says when ``poll`` wants to be called again.  `docs/transfer.md` has every byte and every timer.

========================  =====================================================================
`terms`                   what both ends agreed on beforehand, how a transfer can end, counters
`packet`                  the bytes of one datagram: header, seal, frames
`ranges`                  sets of integers kept as half-open ranges
`congestion`              how much may be in flight (NewReno by RFC 9002 §7)
`recovery`                what was sent, what arrived, what was lost, when to probe (RFC 9002)
`address`                 the proof that a peer is where it says it is (RFC 9000 §8)
`endpoint`                what both ends do alike: numbers, replay, acknowledging, taking leave
`sender`, `receiver`      the two ends
========================  =====================================================================
"""
