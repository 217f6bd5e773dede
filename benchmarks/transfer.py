"""How fast a download is on loopback: MB/s, and CPU seconds per GB on both ends.

The real daemon and the real ``pychat get``, each in a process of its own: the clock runs from the start of the client's
process to its end, with the digest verified and the file synced.

    python benchmarks/transfer.py --megabytes 200 --runs 3
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import Daemon

CHUNK = 1 << 20


def make_file(path: Path, megabytes: int) -> str:
    """Write so many MB of random bytes; return their digest."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(megabytes):
            block = os.urandom(1_000_000)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with Daemon() as daemon:
        expected = make_file(daemon.files / "file.bin", options.megabytes)
        target = daemon.folder / "got.bin"
        gigabytes = options.megabytes / 1000
        results = []
        for number in range(options.runs):
            before, own = daemon.cpu_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            got = subprocess.run(
                [
                    sys.executable, "-m", "pychat", "get", f"127.0.0.1:{daemon.port}", "file.bin",
                    "-o", str(target), "--force",
                ],
                stdout=subprocess.PIPE, check=True, text=True,
            )  # fmt: skip
            seconds = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if not got.stdout.startswith(expected):
                sys.exit(f"the digest is wrong: {got.stdout}")
            served = (daemon.cpu_seconds() - before) / gigabytes
            client = (after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime) / gigabytes
            rate = options.megabytes / seconds
            results.append((rate, served, client))
            print(
                f"  run {number + 1}: {rate:6.1f} MB/s  daemon {served:.1f}, client {client:.1f} CPU-s per GB",
                flush=True,
            )
        rates, daemons, clients = zip(*results, strict=True)
        print(
            f"download of {options.megabytes} MB on loopback, encrypted and verified: "
            f"{statistics.median(rates):.1f} MB/s, "
            f"daemon {statistics.median(daemons):.1f}, client {statistics.median(clients):.1f} CPU-s per GB "
            f"(median of {options.runs}), daemon {daemon.rss_kib() / 1024:.0f} MiB, "
            f"client at most {after.ru_maxrss / 1024:.0f} MiB"
        )


if __name__ == "__main__":
    main()
