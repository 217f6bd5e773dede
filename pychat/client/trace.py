"""What happened to transfers and when, written down as they run: ``--trace``.

The file is qlog 0.3 in one JSON text (draft-ietf-quic-qlog-main-schema-02, with the events of
draft-ietf-quic-qlog-quic-events-01), which viewers such as qvis open.  It grows as things happen, and nothing of it
stays in memory.

- Each attempt at a file is a group of events with a ``group_id`` of its own: 1, 2, and so on.  Its
  ``transport:parameters_set`` says which file it is.
- A train of datagrams is one ``packet_sent`` or ``packet_received``: the number is that of its first datagram, the
  length that of all of them, and ``datagrams`` is how many they are.  ``fragments`` are all of one packet.
- Congestion window and round-trip time are known to the end that sends the file.  If that is the daemon it is asked
  to tell (`pychat.transfer.frames.Metrics`), `METRICS_MS` apart; it knows the number of losses, not their packets.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import TransferError
from ..transfer.frames import Metrics
from ..transfer.packet import (
    FRAGMENTS,
    FROM_CLIENT,
    FROM_DAEMON,
    HEADER_BYTES,
    Buffer,
)
from ..transfer.receiver import Receiver
from ..transfer.sender import Sender
from ..transfer.terms import Failed, Outcome, Train

METRICS_MS = 50
"""Milliseconds between two metrics of one transfer."""

BUFFER_BYTES = 64 * 1024
"""Bytes that are written to the file at once."""

PACKETS_BYTES = 512 * 1024 * 1024
"""Bytes of the file up to which packets are written down; behind it there are metrics and what is rare."""

NO_MORE_PACKETS = "This file is so large that no more packets are written down."

END = b"\n]}]}\n"

_FRAGMENTS = (bytes((FROM_CLIENT + FRAGMENTS,)), bytes((FROM_DAEMON + FRAGMENTS,)))
"""How a datagram begins that is a fragment."""


def _is_device(path: str) -> bool:
    """Whether it is something in which nothing is lost by writing to it."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


class Trace:
    """A file for the traces of all transfers of one program.  They go on if it cannot be written any more.

    :ivar failed: why it is incomplete, as a sentence, if it is.
    :ivar full: there is no room for packets any more.
    """

    def __init__(
        self,
        path: str,
        *,
        overwrite: bool = False,
        seconds: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        :param overwrite: replace a file that has that name.
        :param seconds: the clock of the transfers.
        :param wall: seconds since 1970.
        :raise TransferError: ``trace-failed``.
        """
        self.failed: str | None = None
        self._path = path
        self._start = seconds()
        self._last = 0.0
        self._groups = 0
        self._separator = b"\n"
        self._size = 0
        self.full = False
        try:
            self._file = Path(path).open("wb" if overwrite or _is_device(path) else "xb", BUFFER_BYTES)  # noqa: SIM115 - it is open for as long as there are transfers
        except FileExistsError as error:
            raise TransferError(
                "trace-failed",
                f"{path} exists already, and a trace replaces nothing: name another file for it.",
            ) from error
        except OSError as error:
            raise TransferError("trace-failed", self._sentence(error)) from error
        head = {
            "qlog_version": "0.3",
            "qlog_format": "JSON",
            "title": "pychat",
            "traces": [
                {
                    "vantage_point": {"name": "pychat", "type": "client"},
                    "common_fields": {
                        "protocol_type": ["PYCHAT"],
                        "time_format": "relative",
                        "reference_time": round(wall() * 1000, 3),
                    },
                    "events": [],
                }
            ],
        }
        self._write(_compact(head)[: -len("]}]}")])

    def _sentence(self, error: OSError) -> str:
        return f"The trace cannot be written to {self._path}: {error.strerror or error}."

    def watch(self, name: str, engine: Sender | Receiver, *, via: str = "udp") -> Watch:
        """Begin the group of one attempt.

        :param name: of the file.
        :param engine: it has not begun yet; if it receives it asks the other end for metrics.
        :param via: ``udp`` or ``tcp``.
        """
        self._groups += 1
        return Watch(self, str(self._groups), name, engine, via)

    def event(self, group: str, now: float, name: str, data: bytes) -> None:
        """Write an event.

        :param now: seconds; never less than before, or it is taken for that.
        :param data: JSON.
        """
        self._last = max(self._last, (now - self._start) * 1000)
        self._write(
            b'%s{"time":%.3f,"name":"%s","group_id":"%s","data":%s}'
            % (self._separator, self._last, name.encode(), group.encode(), data)
        )
        self._separator = b",\n"
        if self._size > PACKETS_BYTES and not self.full:
            self.full = True
            self.event(group, now, "loglevel:warning", _compact({"message": NO_MORE_PACKETS}))

    def close(self) -> None:
        """Complete the file; may be called twice."""
        if not self._file.closed:
            self._write(END)
            self._close()

    def _write(self, data: bytes) -> None:
        if self.failed is None and not self._file.closed:
            try:
                self._size += self._file.write(data)
            except OSError as error:
                self._fail(error)

    def _close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if self.failed is None:
            self.failed = self._sentence(error)
            self._close()  # what is in the buffer goes with it


class Watch:
    """What happens to one transfer; `pychat.turns.Turns` tells it."""

    def __init__(self, trace: Trace, group: str, name: str, engine: Sender | Receiver, via: str) -> None:
        self._trace = trace
        self._group = group
        self._engine = engine
        self._state = ""
        self._lost = 0
        self._due = 0.0
        self._began = False
        self._about = {
            "owner": "local",
            "file": name,
            "size": engine.terms.size,
            "transfer": engine.terms.transfer.hex(),
            "sends": isinstance(engine, Sender),
            "via": via,
        }
        if isinstance(engine, Receiver):
            engine.ask_metrics(METRICS_MS)

    def received(self, buffer: Buffer, segment: int, now: float) -> None:
        """A train came."""
        self._train("transport:packet_received", bytes(buffer[:HEADER_BYTES]), len(buffer), segment, now)

    def sent(self, trains: Sequence[Train], now: float) -> None:
        """Trains leave."""
        for train in trains:
            size = sum([len(buffer) for buffer in train.buffers])
            self._train("transport:packet_sent", train.buffers[0], size, train.segment, now)

    def turned(self, now: float) -> None:
        """At the end of a turn, and so after everything that came: note how the sending end stands."""
        engine = self._engine
        if isinstance(engine, Receiver):
            for heard, metrics in engine.take_metrics():
                self._metrics(metrics, heard)
        elif now >= self._due:
            self._due = now + METRICS_MS / 1000
            self._metrics(engine.metrics(), now)

    def ended(self, outcome: Outcome | None, now: float) -> None:
        """It is over; `outcome` is None if nobody knows how."""
        data: dict[str, Any] = {"owner": "local", "reason": "done"}
        if isinstance(outcome, Failed):
            data = {"owner": "remote" if outcome.remote else "local", "reason": outcome.code}
        elif outcome is None:
            data["reason"] = "unknown"
        self._event(now, "connectivity:connection_closed", _compact(data))

    def _event(self, now: float, name: str, data: bytes) -> None:
        if not self._began:
            self._began = True
            self._event(now, "transport:parameters_set", _compact(self._about))
        self._trace.event(self._group, now, name, data)

    def _train(self, name: str, head: bytes, size: int, segment: int, now: float) -> None:
        if self._trace.full:
            return
        data = (
            b'{"header":{"packet_type":"1RTT","packet_number":%d},"raw":{"length":%d},"datagrams":%d%b}'
            % (
                int.from_bytes(head[9:HEADER_BYTES], "big"),
                size,
                -(-size // max(segment, 1)),
                b',"fragments":true' if head[:1] in _FRAGMENTS else b"",
            )
        )
        self._event(now, name, data)

    def _metrics(self, metrics: Metrics, now: float) -> None:
        data = {
            "congestion_window": metrics.window,
            "bytes_in_flight": metrics.in_flight,
            "latest_rtt": metrics.latest / 1000,
            "smoothed_rtt": metrics.smoothed / 1000,
            "min_rtt": metrics.minimum / 1000,
            "pacing_rate": metrics.pacing * 8,
            "delivery_rate": metrics.rate * 8,
            "lost_packets": metrics.lost,
            "max_datagram_size": metrics.datagram,
        }
        if not metrics.latest:
            for key in ("latest_rtt", "smoothed_rtt", "min_rtt"):
                del data[key]
        if metrics.lost > self._lost:
            self._event(now, "recovery:packet_lost", _compact({"packets": metrics.lost - self._lost}))
        self._lost = metrics.lost
        if metrics.state != self._state:
            change = {"old": self._state, "new": metrics.state} if self._state else {"new": metrics.state}
            self._state = metrics.state
            self._event(now, "recovery:congestion_state_updated", _compact(change))
        self._event(now, "recovery:metrics_updated", _compact(data))


def _compact(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()
