"""Have videos, raw photos and JPEG XL opened by another process, `apart_worker`.

Their decoders are large libraries in C: what is wrong with a file may crash one of them, let it run for ever or fill
the memory. Here that costs one file. There is one worker for a process; it starts with the first file and ends with the
process, or when it has nothing to do for a minute.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from vsearch.distribution import install_hint
from vsearch.errors import PictureError
from vsearch.image.kinds import Kind

PATIENCE = 20.0  # seconds for one picture
_CHUNK = 1 << 20


class Worker:
    """The other process; asked by one thread at a time."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", "vsearch.image.apart_worker")) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, do: str, path: str | os.PathLike[str], **more: Any) -> tuple[dict[str, Any], bytes]:
        """Return the facts and bytes that the worker answers. Raises PictureError with a short reason."""
        line = json.dumps({"do": do, "path": os.path.abspath(path), **more}).encode("ascii") + b"\n"
        with self._lock:
            try:
                facts, data = self._ask(line)
            except EOFError:  # it had nothing to do for a while, and ended at this very moment
                facts, data = self._ask(line)
        if "error" in facts:
            raise PictureError(str(facts["error"]))
        return facts, data

    def close(self) -> None:
        """End the worker; the next file starts another one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _ask(self, line: bytes) -> tuple[dict[str, Any], bytes]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        end = time.monotonic() + PATIENCE
        try:
            process.stdin.write(line)
            process.stdin.flush()
            head, _, data = self._read(process, b"\n", 0, end).partition(b"\n")
            facts = json.loads(head)
            return facts, self._read(process, data, int(facts["bytes"]), end, begun=True)
        except (BrokenPipeError, EOFError):
            code = process.wait()
            self.close()
            if not code:
                raise EOFError from None
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise PictureError(f"damaged (its decoder crashed: {name})") from None
        except BaseException:  # a time limit, Ctrl-C: what still comes answers nothing
            self.close()
            raise

    def _read(
        self, process: subprocess.Popen[bytes], text: bytes, size: int, end: float, *, begun: bool = False
    ) -> bytes:
        """Read up to a line's end, or, once it has `begun` with `text`, so many bytes.

        Raises EOFError if the worker ends, PictureError if it takes too long.
        """
        assert process.stdout is not None
        found = bytearray(text if begun else b"")
        while len(found) < size if begun else text not in found:
            if not select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise PictureError("takes too long to decode")
            more = os.read(process.stdout.fileno(), _CHUNK)
            if not more:
                raise EOFError
            found += more
        return bytes(found)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            root = str(Path(__file__).resolve().parents[2])
            paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for who asks
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._process


WORKER = Worker()
atexit.register(WORKER.close)


def check(kind: Kind) -> None:
    """Raise PictureError if the package that reads such files is not installed."""
    if not kind.readable():
        raise PictureError(f"to read a {kind.noun}: {install_hint(kind.extra)}")
