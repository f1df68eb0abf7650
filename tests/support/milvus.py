"""The real Milvus, from the package `milvus`, as a process of the tests: all its data in one folder, free ports.

Milvus 2.3.5 listens on every address of the machine, so it is started with authorization on: nobody gets in who does
not have the password that is drawn for each start of the tests.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

START, STOP = 90.0, 10.0  # seconds
_ETCD = """\
name: default
data-dir: {data}
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
log-outputs: [{log}]
"""


class MilvusProcess:
    """A Milvus that can be killed and started again on what it has on disk."""

    def __init__(self, folder: Path, room: int | None = None, **settings: Any) -> None:
        """Prepare one in a folder; `settings` are those of its milvus.yaml, `a.b.c` written as `a__b__c`.

        `room` gives it a disk of its own of so many megabytes, which only it sees: see `data`.
        """
        from milvus import MilvusServerConfig, _initialize_data_files

        names = [name for name in MilvusServerConfig().configurable_items if name.endswith("_port")]
        ports = dict(zip([*names, "peer", "metrics"], _free_ports(len(names) + 2), strict=True))
        self.folder, self.port, self._metrics = folder, ports["proxy_port"], ports["metrics"]
        self.process: subprocess.Popen[bytes] | None = None
        self._room = room
        config = MilvusServerConfig(data_dir=str(folder), **{name: ports[name] for name in names})
        config.set("authorization_enabled", True)
        for name, value in settings.items():
            config.set(name.replace("__", "."), value)
        config.resolve()
        etcd = folder / "configs" / "etcd.yaml"
        etcd.write_text(
            _ETCD.format(
                data=folder / "data" / "etcd.data",
                client=ports["etcd_port"],
                peer=ports["peer"],
                log=folder / "logs" / "etcd.log",
            )
        )
        yaml = (
            folder / "configs" / "milvus.yaml"
        )  # without a file of its own etcd takes 2379 and 2380, whoever has them
        yaml.write_text(
            yaml.read_text().replace("  use:\n    embed", f"  config:\n    path: {etcd}\n  use:\n    embed")
        )
        _initialize_data_files(str(folder))

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it says that it is well. Raises RuntimeError with the end of its log if it dies."""
        log = (self.folder / "logs" / "milvus.log").open("ab")
        environment = {
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._metrics),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": str(self.folder / "bin"),
        }
        command = [str(self.folder / "bin" / "milvus"), "run", "standalone"]
        if self._room is not None:
            mount = f'mount -t tmpfs -o size={self._room}m tmpfs "$0" && exec "$@"'
            command = ["unshare", "-rm", "sh", "-c", mount, str(self.folder / "data"), *command]
        with log:
            self.process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
        end = time.monotonic() + START
        while not self._well():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError((self.folder / "logs" / "milvus.log").read_text(errors="replace")[-2_000:])
            time.sleep(0.1)

    def set_password(self, password: str) -> str:
        """Give root another password than everybody knows; return what MILVUS_TOKEN must be."""
        from pymilvus import MilvusClient

        client = MilvusClient(uri=f"http://{self.address}", token="root:Milvus", timeout=30)
        client.update_password("root", "Milvus", password)
        client.close()
        return f"root:{password}"

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._end(signal.SIGTERM)

    @property
    def data(self) -> Path:
        """The folder of its data, as it sees it."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{self.folder}/data")

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def on_disk(self) -> int:
        """Bytes of its data on disk."""
        sizes = []
        for file in (self.folder / "data").rglob("*"):
            with suppress(OSError):
                sizes.append(file.stat().st_blocks * 512)
        return sum(sizes)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP)
        self.process = None

    def _well(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/healthz", timeout=5) as answer:
                return b"OK" in answer.read()
        except OSError:
            return False


def may_mount() -> bool:
    """Tell whether a process may have a disk of its own here."""
    try:
        ran = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    except FileNotFoundError:
        return False
    return ran.returncode == 0


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
