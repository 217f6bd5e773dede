"""Power fails at any moment: what was synced before an `<accepted>` went out holds that message.

A real daemon runs with `syncshim.c` loaded before the C library. That records what is written and synced below the
daemon's folder and what is sent to its peers, in one order. From the record the files are rebuilt as a machine
without power leaves them, at many moments, and read with the journal's own functions.

What is assumed of the machine: the folder itself is there; a file's bytes are safe when a sync of the file has
ended that began after they were written; names (made, changed, removed) are safe when a sync of the *folder* has.
Some file systems promise more: on ext4 syncing a new file makes its name safe as well. Nothing here builds on it.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier

import pytest

from pychat.journal.store import FILE_NAME, check, connect

from .programs import PATIENCE, Talker, serve

pytestmark = pytest.mark.system

SHIM = Path(__file__).with_name("syncshim.c")
HEAD = struct.Struct("=5Q")

TALKERS = 4
ROUNDS = 240
MOST_AT_ONCE = 12
"""Messages that a talker has under way."""
TEXT_SIZE = 1500
"""Bytes; large, so that SQLite copies its log into the database (a checkpoint) several times."""

MOMENTS = 50
"""How many `<accepted>`, spread evenly, are looked at besides those around each checkpoint."""

SECTOR = 512
"""Bytes that a disk writes wholly or not at all."""

_ACCEPTED = re.compile(rb"<accepted (?:[^>]* )?id=(\d+)[^>]*>")


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that the daemon did; `syncshim.c` says what the fields mean for each kind."""

    kind: str
    number: int
    offset: int
    name: str
    data: bytes


def read_log(path: Path) -> list[Record]:
    """Every record, in order; none is cut short."""
    log, at, records = path.read_bytes(), 0, []
    while at < len(log):
        kind, number, offset, name_size, data_size = HEAD.unpack_from(log, at)
        name = at + HEAD.size
        data = name + name_size
        at = data + data_size
        assert at <= len(log)
        records.append(Record(chr(kind), number, offset, log[name:data].decode(), log[data:at]))
    return records


def write(image: bytearray, offset: int, data: bytes | None) -> None:
    """Write to a file, or give it another length (``data=None``); what lies between is zeros, as on a disk."""
    if len(image) < offset:
        image.extend(bytes(offset - len(image)))
    if data is None:
        del image[offset:]
    else:
        image[offset : offset + len(data)] = data


@dataclass(slots=True, eq=False)
class File:
    """A file on a disk that has yet to write some of it."""

    image: bytearray = field(default_factory=bytearray)
    """What is on the disk for certain."""
    waiting: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    """Moment, offset and bytes of what is not, as :func:`write` takes it."""

    def sync(self, began: int) -> None:
        """A sync that began at this moment has ended."""
        for moment, offset, data in self.waiting:
            if moment < began:
                write(self.image, offset, data)
        self.waiting = [change for change in self.waiting if change[0] >= began]

    def survive(self, chance: random.Random, share: float, piece: int) -> bytes:
        """The file after the power came back: what waited is there in part, cut at multiples of ``piece`` bytes."""
        image = bytearray(self.image)
        for _, offset, data in self.waiting:
            if data is None:
                if chance.random() < share:
                    write(image, offset, None)
                continue
            start = offset
            while start < offset + len(data):
                end = min(offset + len(data), (start // piece + 1) * piece)
                if chance.random() < share:
                    write(image, start, data[start - offset : end - offset])
                start = end
        return bytes(image)


class Disk:
    """The daemon's folder: what the daemon sees of it, and what would be left if the power failed now."""

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        """What the daemon sees."""
        self._safe: dict[str, File] = {}
        self._waiting: list[tuple[int, dict[str, File | None]]] = []  # moments, and changes of names
        self._files: dict[int, File] = {}  # by inode
        self._folders: set[int] = set()
        self._began: dict[int, int] = {}  # when each sync that runs began
        self._moment = 0

    def take(self, record: Record) -> None:
        """Do what the daemon did next."""
        self._moment += 1
        number, offset = record.number, record.offset
        match record.kind:
            case "O":
                self._open(record)
            case "W":
                self._files[number].waiting.append((self._moment, offset, record.data))
            case "T":
                self._files[number].waiting.append((self._moment, offset, None))
            case "B":
                self._began[offset] = self._moment
            case "E":
                self._sync(number, self._began.pop(offset))
            case "U":
                self._rename({record.name: None})
            case "R":
                self._rename({record.name: None, record.data.decode(): self.names[record.name]})

    def _open(self, record: Record) -> None:
        if record.name == ".":
            self._folders.add(record.number)
        elif record.offset:
            self._files[record.number] = File()
            self._rename({record.name: self._files[record.number]})
        else:
            assert self._files[record.number] is self.names[record.name], f"{record.name} came from nowhere"

    def _sync(self, number: int, began: int) -> None:
        if number not in self._folders:
            self._files[number].sync(began)
            return
        for moment, change in self._waiting:
            if moment < began:
                _change(self._safe, change)
        self._waiting = [entry for entry in self._waiting if entry[0] >= began]

    def _rename(self, change: dict[str, File | None]) -> None:
        _change(self.names, change)
        self._waiting.append((self._moment, change))

    def leave(self, folder: Path, chance: random.Random | None = None) -> None:
        """Write into a new folder what is left when the power fails now.

        :param chance: let a part of what was not synced survive; without it nothing of that does.
        """
        folder.mkdir()
        names = dict(self._safe)
        # Some disks lose little and some much; some write whole pages, and some are cut off within one.
        share = chance.random() if chance else 0.0
        piece = chance.choice((SECTOR, 1 << 30)) if chance else SECTOR
        for _, change in self._waiting:
            if chance and chance.random() < share:
                _change(names, change)
        for name, file in names.items():
            (folder / name).write_bytes(file.survive(chance, share, piece) if chance else file.image)

    def everything(self) -> dict[str, bytes]:
        """What the daemon sees: names and bytes."""
        return {name: file.survive(random.Random(0), 2.0, 1 << 30) for name, file in self.names.items()}


def _change(names: dict[str, File], change: dict[str, File | None]) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """What a daemon did, what its clients were told, and the files that it left."""

    records: list[Record]
    accepted: dict[int, str]
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One life of a daemon in which several talkers post at once, to one another and to all."""
    folder = tmp_path_factory.mktemp("sync").resolve()
    library, log, state = folder / "syncshim.so", folder / "log", folder / "state"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SHIM), "-lpthread"], check=True, timeout=60
    )
    shim = ("env", f"LD_PRELOAD={library}", f"SYNCSHIM_FOLDER={state}", f"SYNCSHIM_LOG={log}")
    accepted: dict[int, str] = {}
    with serve(folder, "--journal", "sqlite", prefix=shim) as daemon:
        barrier = Barrier(TALKERS, timeout=PATIENCE)
        with ThreadPoolExecutor(TALKERS) as threads:
            for told in threads.map(lambda number: talk(daemon.port, number, barrier), range(TALKERS)):
                assert not accepted.keys() & told.keys()
                accepted |= told
        daemon.signal(signal.SIGTERM)
        assert daemon.status() == 0
    files = {path.name: path.read_bytes() for path in state.iterdir() if not path.name.endswith("-shm")}
    records = read_log(log)
    log.unlink()  # large, and pytest keeps its folders for a while
    return Run(records, accepted, files)


def talk(port: int, number: int, together: Barrier) -> dict[int, str]:
    """Post numbered texts, some to all and some to the next talker; return what was accepted, by id."""
    chance = random.Random(number)
    told: dict[int, str] = {}
    said = ended = 0
    with Talker(port, f"t{number}") as talker:
        together.wait()
        for turn in range(ROUNDS):
            lines: list[str] = []
            texts: list[str] = []
            for _ in range(chance.randint(1, MOST_AT_ONCE)):
                said += 1
                texts.append(f"{number}:{said}:".ljust(TEXT_SIZE, "x"))
                verb = chance.choice(("<set_msg_all>", f"<set_msg>t{(number + 1) % TALKERS} "))
                lines.append(f"{verb}{texts[-1]}\n")
            last = turn == ROUNDS - 1
            if last:
                texts.append(f"{number}:last:")
                lines.append(f"<set_msg_all>{texts[-1]}\n")
            talker.send("".join(lines).encode())
            # Nobody leaves, or stops reading, before all have ended.
            while texts or (last and ended < TALKERS - 1):
                line = talker.line()
                assert line, "the daemon hung up"
                assert not line.startswith("<error"), line
                if match := _ACCEPTED.match(line.encode()):
                    told[int(match[1])] = texts.pop(0)
                elif line.endswith(":last:"):
                    ended += 1
    return told


@dataclass(slots=True)
class Wire:
    """Reads `<accepted>` out of what was sent, connection by connection, whatever way the bytes were cut."""

    _rest: dict[int, bytes] = field(default_factory=dict)

    def ids(self, record: Record) -> list[int]:
        """The ids of the messages that a client can believe to be kept from this record on."""
        if record.kind != "S":
            return []
        *lines, rest = (self._rest.get(record.number, b"") + record.data).split(b"\n")
        # The `>` is enough to believe it; the line's end may still be under way.
        early = _ACCEPTED.match(rest)
        self._rest[record.number] = b"" if early else rest
        return [int(match[1]) for line in lines if (match := _ACCEPTED.match(line))] + (
            [int(early[1])] if early else []
        )


def acceptances(records: Sequence[Record]) -> list[int]:
    """The indices of the records that say `<accepted>`."""
    wire = Wire()
    return [index for index, record in enumerate(records) if wire.ids(record)]


def checkpoints(records: Sequence[Record]) -> list[range]:
    """Where the database itself is written, from the first write to the end of the sync that closes it."""
    inodes = {r.number for r in records if r.kind == "O" and r.name == FILE_NAME}
    spans: list[range] = []
    start = None
    for index, record in enumerate(records):
        if record.number in inodes and record.kind == "W" and start is None:
            start = index
        elif record.number in inodes and record.kind == "E" and start is not None:
            spans.append(range(start, index + 1))
            start = None
    return spans


def moments(records: Sequence[Record]) -> list[int]:
    """Indices of records after which the power shall fail."""
    said = acceptances(records)
    chosen = set(said[:: max(1, len(said) // MOMENTS)]) | {said[-1]}
    for span in checkpoints(records):
        if span.start > said[0]:
            chosen |= {span.start, span[len(span) // 2], span[-2], span[-1]}
            chosen.add(max(index for index in said if index < span.start))
            # The log is written from its beginning once the copy is safe: the two accepted next are from there.
            chosen.update([index for index in said if index >= span.stop][:2])
    return sorted(chosen)


def wrong(
    records: Sequence[Record],
    accepted: dict[int, str],
    when: Iterable[int],
    space: Path,
    chance: random.Random | None = None,
) -> Iterator[str]:
    """Let the power fail after each of these records; yield what the journal that is left lacks.

    :param space: a folder to rebuild the files in.
    """
    disk, wire, due = Disk(), Wire(), set(when)
    promised: dict[int, str] = {}
    folder = space / "left"
    for index, record in enumerate(records):
        disk.take(record)
        promised.update((id, accepted[id]) for id in wire.ids(record))
        if index not in due:
            continue
        disk.leave(folder, chance)
        journal = folder / FILE_NAME
        faults = check(journal)
        if not faults:
            with closing(connect(journal, read_only=True)) as connection:
                kept = {id: text.decode() for id, text in connection.execute("SELECT id, text FROM entry")}
            faults = [f"{id} is not there" for id, text in promised.items() if kept.get(id) != text]
        for fault in faults:
            yield f"power fails after record {index}: {fault}"
        shutil.rmtree(folder)


def test_the_record_is_whole(run: Run) -> None:
    """With nothing lost it makes the files that the daemon left, byte for byte, and the clients' ids are in it."""
    disk, wire, ids = Disk(), Wire(), []
    for record in run.records:
        disk.take(record)
        ids += wire.ids(record)
    assert disk.everything() == run.files
    assert sorted(ids) == sorted(run.accepted)
    assert FILE_NAME in run.files


def test_what_was_synced_holds_what_was_accepted(run: Run, tmp_path: Path) -> None:
    """Nothing of what was written and not synced is left."""
    when = moments(run.records)
    assert len(acceptances(run.records)) >= MOMENTS
    assert len([span for span in checkpoints(run.records) if span.start > when[0]]) >= 3
    assert next(wrong(run.records, run.accepted, when, tmp_path), None) is None


@pytest.mark.parametrize("seed", [20261122, 20261123])
def test_also_if_a_part_of_the_rest_is_left(run: Run, tmp_path: Path, seed: int) -> None:
    """Writes that were not synced survive here and there, whole or in sectors, and so do changes of names."""
    when = moments(run.records)
    assert next(wrong(run.records, run.accepted, when, tmp_path, random.Random(seed)), None) is None


@pytest.mark.parametrize(
    ("name", "complaint"), [(f"{FILE_NAME}-wal", "is not there"), (FILE_NAME, "power fails")]
)
def test_a_file_that_is_not_synced_is_found_out(run: Run, tmp_path: Path, name: str, complaint: str) -> None:
    """The same record, without the syncs of SQLite's log, or of the database, since the first `<accepted>`."""
    first = acceptances(run.records)[0]
    inodes = {record.number for record in run.records if record.kind == "O" and record.name == name}
    nothing = Record("", 0, 0, "", b"")
    records = [
        nothing if index > first and record.kind in "BE" and record.number in inodes else record
        for index, record in enumerate(run.records)
    ]
    assert complaint in next(
        wrong(records, run.accepted, moments(run.records), tmp_path), "nothing was found"
    )


def test_a_daemon_that_accepts_before_it_has_synced_is_found_out(run: Run, tmp_path: Path) -> None:
    """The same record, in which each `<accepted>` goes out while the sync before it still runs."""
    records: list[Record] = []
    wire, began = Wire(), 0
    for record in run.records:
        if record.kind == "B":
            began = len(records)
        records.insert(began + 1 if wire.ids(record) else len(records), record)
    when = acceptances(records)
    assert "is not there" in next(wrong(records, run.accepted, when, tmp_path), "nothing was found")
