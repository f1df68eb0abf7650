"""A Ray cluster on this machine: a head that does no work, and two raylets of one processor, one to be killed.

As a program, in a process of its own, it prints the address and then does as it is told: `kill` a raylet, or end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # what keeps Ray, and who joins it, on 127.0.0.1
_MEMORY = 80 << 20  # bytes of the object store of each, the least that Ray takes


class RayCluster:
    """The program in a process; what it starts inherits the environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Start it, and wait for its address."""
        self._folder = tempfile.mkdtemp(prefix="ray-")  # a short path: sockets lie in it
        ours = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": self._folder, **LOOPBACK}
        with open(Path(self._folder) / "log", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                env={**environment, **ours},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                text=True,
            )
        self.address = self._said("address")

    def kill_raylet(self) -> None:
        """Kill one of the two raylets and its workers, as a power cut does."""
        assert self._process.stdin is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        self._said("killed")

    def stop(self) -> None:
        """End everything."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait(10)
            if self._process.stdout is not None:
                self._process.stdout.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _said(self, what: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(what + " "):
                return line.split()[1]
        raise RuntimeError((Path(self._folder) / "log").read_text(errors="replace")[-2_000:])


def main() -> None:
    from ray.cluster_utils import Cluster

    common: dict[str, Any] = {
        "object_store_memory": _MEMORY,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.1",
    }
    head = {**common, "num_cpus": 0}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(**common, num_cpus=1) for _ in range(2)]
    sys.stdout.write(f"address {cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line == "kill\n":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            sys.stdout.write("killed 1\n")
            sys.stdout.flush()
    cluster.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
