"""Tests of `pychat.client.trace`: what ``--trace`` writes is qlog that viewers take."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pychat.client import trace as trace_module
from pychat.client.trace import METRICS_MS, NO_MORE_PACKETS, Trace
from pychat.errors import TransferError
from pychat.transfer.packet import FRAGMENTS, FROM_DAEMON
from pychat.transfer.terms import Failed
from tests.transfer.pair import DELAY, Pair


def traced(path: Path, pair: Pair, *, upload: bool = False, name: str = 'a "name"\x1b\n') -> dict[str, Any]:
    """Trace one end of a transfer to its end; the file."""
    trace = Trace(str(path), seconds=lambda: pair.now - 0.5, wall=lambda: 1_800_000_000.25)
    engine: Any = pair.sender if upload else pair.receiver
    watch = trace.watch(name, engine)
    if upload:
        pair.other = watch
    else:
        pair.watch = watch
    pair.finish()
    watch.ended(engine.outcome, pair.now)
    trace.close()
    trace.close()
    assert trace.failed is None
    read: dict[str, Any] = json.loads(path.read_bytes())
    return read


def events(read: dict[str, Any]) -> list[dict[str, Any]]:
    """The events, which are those of one transfer, after what all of them have is checked."""
    (trace,) = read["traces"]
    found: list[dict[str, Any]] = trace["events"]
    for event in found:
        assert set(event) == {"time", "name", "group_id", "data"}
        assert event["group_id"] == "1"
    times = [event["time"] for event in found]
    assert times == sorted(times)
    assert times[0] >= 500
    return found


def named(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event["data"] for event in found if event["name"] == name]


def test_head(tmp_path: Path) -> None:
    """The head is that of qlog 0.3, and comes first, as viewers look for it in the first bytes."""
    path = tmp_path / "out.qlog"
    read = traced(path, Pair())
    assert path.read_bytes().startswith(b'{"qlog_version":"0.3","qlog_format":"JSON",')
    (trace,) = read["traces"]
    assert trace["vantage_point"]["type"] == "client"
    assert trace["common_fields"]["time_format"] == "relative"
    assert trace["common_fields"]["reference_time"] == 1_800_000_000_250.0


@pytest.mark.parametrize("upload", [False, True])
def test_transfer(tmp_path: Path, upload: bool) -> None:
    """Whichever end it is, it has packets, and the window and the round trip of the sender."""
    pair = Pair(2_000_000, controller="model")
    found = events(traced(tmp_path / "out.qlog", pair, upload=upload))
    assert found[0]["name"] == "transport:parameters_set"
    about = found[0]["data"]
    assert (about["file"], about["size"], about["sends"], about["via"]) == (
        'a "name"\x1b\n',
        2_000_000,
        upload,
        "udp",
    )
    assert about["transfer"] == b"transfer".hex()
    assert found[-1]["name"] == "connectivity:connection_closed"
    assert found[-1]["data"]["reason"] == "done"

    data, words = ("sent", "received") if upload else ("received", "sent")
    packets = named(found, f"transport:packet_{data}")
    assert sum(packet["raw"]["length"] for packet in packets) > 2_000_000
    for direction in (data, words):
        numbers = [
            packet["header"]["packet_number"] for packet in named(found, f"transport:packet_{direction}")
        ]
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 3
    assert max(packet["datagrams"] for packet in packets) > 1

    metrics = named(found, "recovery:metrics_updated")
    assert len(metrics) >= 3
    last = metrics[-1]
    assert abs(last["min_rtt"] - 2000 * DELAY) < 2
    assert last["smoothed_rtt"] >= last["min_rtt"]
    assert last["congestion_window"] > 10_000
    assert last["pacing_rate"] > 1_000_000
    assert last["delivery_rate"] > 1_000_000
    assert last["lost_packets"] == 0
    times = [event["time"] for event in found if event["name"] == "recovery:metrics_updated"]
    assert all(after - before > METRICS_MS * 0.8 for before, after in pairwise(times))
    changes = named(found, "recovery:congestion_state_updated")
    assert changes[0] == {"new": "startup"}
    for before, after in pairwise(changes):
        assert after["old"] == before["new"] != after["new"]


def test_losses(tmp_path: Path) -> None:
    """What the sender has lost is told as it becomes known, and adds up."""
    pair = Pair(1_000_000)
    pair.lose = lambda number: number % 10 == 9
    found = events(traced(tmp_path / "out.qlog", pair))
    lost = sum(event["packets"] for event in named(found, "recovery:packet_lost"))
    assert 0 < lost == named(found, "recovery:metrics_updated")[-1]["lost_packets"]


def test_before_the_first_round_trip(tmp_path: Path) -> None:
    """What is not known is left out."""
    pair = Pair()
    trace = Trace(str(tmp_path / "out.qlog"), seconds=lambda: pair.now)
    watch = trace.watch("x", pair.sender, via="tcp")
    watch.turned(pair.now)
    watch.turned(pair.now)
    watch.ended(Failed("cancelled", "Enough."), pair.now)
    watch.ended(Failed("vanished", "Gone.", remote=True), pair.now)
    watch.ended(None, pair.now)
    trace.close()
    found = json.loads((tmp_path / "out.qlog").read_bytes())["traces"][0]["events"]
    assert [event["name"].split(":")[1] for event in found] == [
        "parameters_set",
        "congestion_state_updated",
        "metrics_updated",
        *["connection_closed"] * 3,
    ]
    assert "min_rtt" not in found[2]["data"]
    assert [(event["data"]["owner"], event["data"]["reason"]) for event in found[3:]] == [
        ("local", "cancelled"),
        ("remote", "vanished"),
        ("local", "unknown"),
    ]


def test_several(tmp_path: Path) -> None:
    """Each attempt is a group; the times of all of them ascend, also if a clock is read in another order."""
    pair, other = Pair(), Pair()
    trace = Trace(str(tmp_path / "out.qlog"), seconds=lambda: 5000.0)
    first, second = trace.watch("one", pair.receiver), trace.watch("two", other.receiver)
    second.received(bytes((FROM_DAEMON + FRAGMENTS,)) * 100, 50, 5000.3)
    first.received(b"y" * 20, 20, 5000.2)
    trace.close()
    first.received(b"too late" * 5, 20, 5001.0)
    found = json.loads((tmp_path / "out.qlog").read_bytes())["traces"][0]["events"]
    assert [(event["group_id"], event["time"]) for event in found] == [("2", 300.0)] * 2 + [("1", 300.0)] * 2
    assert [event["data"]["file"] for event in found[::2]] == ["two", "one"]
    assert (found[1]["data"]["datagrams"], found[1]["data"]["fragments"]) == (2, True)
    assert "fragments" not in found[3]["data"]


def test_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is large has no more packets from there on, says so, and goes on with the rest."""
    monkeypatch.setattr(trace_module, "PACKETS_BYTES", 4000)
    found = events(traced(tmp_path / "out.qlog", Pair(3_000_000)))
    names = [event["name"] for event in found]
    assert named(found, "loglevel:warning") == [{"message": NO_MORE_PACKETS}]
    rest = names[names.index("loglevel:warning") :]
    assert "recovery:metrics_updated" in rest
    assert rest[-1] == "connectivity:connection_closed"
    assert not [name for name in rest if "packet_received" in name or "packet_sent" in name]


def test_plot(tmp_path: Path) -> None:
    """The picture of a trace is an SVG with a curve for each thing that there is to be seen."""
    pair = Pair(2_000_000)
    pair.lose = lambda number: number % 20 == 9
    traced(tmp_path / "out.qlog", pair)
    script = Path(__file__).parents[2] / "benchmarks" / "plot_trace.py"
    subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out.qlog"), "--title", "1 < 2 & 3"],
        check=True, timeout=60, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    picture = ElementTree.parse(tmp_path / "out.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert picture.findtext(f"{space}title") == "1 < 2 & 3"
    assert len(picture.findall(f"{space}polyline")) == 7
    assert len(picture.findall(f"{space}path")) == 1


def test_nothing(tmp_path: Path) -> None:
    """Without a transfer it is still JSON."""
    trace = Trace(str(tmp_path / "out.qlog"))
    trace.close()
    assert json.loads((tmp_path / "out.qlog").read_bytes())["traces"][0]["events"] == []


def test_cannot_be_written(tmp_path: Path) -> None:
    """A file that cannot be made is told at once."""
    with pytest.raises(TransferError) as caught:
        Trace(str(tmp_path / "no" / "out.qlog"))
    assert caught.value.code == "trace-failed"
    assert "No such file or directory" in caught.value.sentence


def test_disk_full(tmp_path: Path) -> None:
    """A disk that is full in the middle of it ends the trace and not the transfer."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no disk here that is always full")
    pair = Pair(300_000)
    trace = Trace(str(full))
    watch = trace.watch("x" * 100_000, pair.receiver)
    pair.watch = watch
    pair.finish()
    watch.ended(pair.receiver.outcome, pair.now)
    trace.close()
    assert trace.failed is not None
    assert "No space left on device" in trace.failed
    trace = Trace(str(full))
    trace.close()
    assert trace.failed is not None
