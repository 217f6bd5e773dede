"""The peers: curl against nginx over TCP, and QUIC by qh3."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from common import free_port
from links import Link, Program, must, need, run
from ours import NAME

PORT = 8080

_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {host}:{port}; root {root}; }}
}}
"""


class Fetched(NamedTuple):
    """What curl got."""

    size: float
    seconds: float
    """time_total - time_pretransfer: from the request leaving to the last byte."""
    wall: float
    cut: bool
    """Whether it was cut off, and this is the goodput so far."""

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds if self.seconds else 0.0


class Nginx:
    """nginx at the end ``a`` of a link, with one folder."""

    def __init__(self, link: Link, root: Path) -> None:
        need("nginx", "curl")
        self._link = link
        self._folder = Path(tempfile.mkdtemp(prefix="pychat-bench-nginx-"))
        self._url = f"http://{link.host}:{PORT}/{NAME}"
        configuration = self._folder / "nginx.conf"
        configuration.write_text(_NGINX.format(folder=self._folder, host=link.host, port=PORT, root=root))
        user = [] if os.geteuid() else ["-g", "user root;"]
        self._program = Program(
            link.at("a", "nginx", "-p", str(self._folder), "-c", str(configuration), *user)
        )
        end = time.monotonic() + 20
        while run(link.at("a", "curl", "-sfI", "-o", os.devnull, self._url)).status:
            if not self._program.running or time.monotonic() > end:
                said = self._program.output()
                self.__exit__()
                raise SystemExit(f"nginx did not start: {said}")
            time.sleep(0.05)

    def __enter__(self) -> Nginx:
        return self

    def __exit__(self, *error: object) -> None:
        self._program.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, control: str, seconds: float, port: int = 0) -> Program:
        """Start a curl at the other end, from this port of its own if one is given, cut off after so many seconds."""
        self._link.congestion_control(control)
        return Program(
            self._link.at(
                "b", "curl", "-s", "--noproxy", "*", "-o", os.devnull, "-m", f"{seconds:g}", "-w",
                "%{size_download} %{time_total} %{time_pretransfer}",
                *(["--local-port", str(port)] if port else []), self._url,
            )
        )  # fmt: skip

    def fetch(self, control: str, seconds: float) -> Fetched:
        """One download, cut off after so many seconds."""
        ended = self.start(control, seconds).wait(seconds + 30)
        if ended.status not in (0, 28):
            raise SystemExit(f"curl ended with {ended.status}: {ended.err}")
        size, total, before = map(float, ended.out.split())
        return Fetched(size, total - before, ended.wall, ended.status == 28)


def qh3_python(release: str) -> str:
    """A Python that has this release of qh3, in an environment made for it among the user's caches."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / f"pychat-bench-qh3-{release}"
    python = folder / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", "import qh3"], check=False).returncode:
        must([sys.executable, "-m", "venv", "--clear", str(folder)], seconds=300)
        must([str(python), "-m", "pip", "install", "--quiet", f"qh3=={release}"], seconds=300)
    return str(python)


def qh3_rate(python: str, megabytes: int, datagram: int) -> float:
    """One download by QUIC on loopback between two processes, in bytes a second."""
    need("openssl")
    peer = str(Path(__file__).with_name("qh3_peer.py"))
    port, size = free_port(), megabytes * 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        must(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", f"{folder}/key", "-out", f"{folder}/certificate"]
        )  # fmt: skip
        server = Program([python, peer, "serve", folder, str(port), str(size), str(datagram)])
        try:
            ended = run([python, peer, "fetch", folder, str(port), str(size), str(datagram)], seconds=120)
        finally:
            told = server.end().err
    if ended.status:
        raise SystemExit(f"qh3 ended with {ended.status}: {ended.err[-500:]}{told[-500:]}")
    return size / float(json.loads(ended.out)["seconds"])
