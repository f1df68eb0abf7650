"""Shards done by the workers of a Ray cluster: the only file that imports ray.

Each worker is an actor that keeps the model loaded and its own connection to the store. What a dead machine had in hand
goes to another worker; when there is room for a worker again, Ray starts it again.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from index.build.describe import Settings
from index.shards.shard import Shard
from index.shards.work import PATIENCE, Outcome, Worker, patiently
from vsearch.distribution import install_hint
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from index.model import Describer
    from index.stores.protocol import Store

_TICK = 1.0  # seconds between two looks at a cluster where nothing happens
_START = 600.0  # seconds without a worker: a cluster may have to rent a machine first
_DEATHS = 5  # of workers, until it is the shard that is to blame
_NAME_ONE = "start one, or name another"


class Errand(NamedTuple):
    """What a worker needs to begin: the model's folder (None: the bundled one) and identity, the store's URL."""

    model: str | None
    device: str
    identity: str
    store: str
    settings: Settings
    threads: int = 2
    patience: float = PATIENCE


class Refusal(NamedTuple):
    """An error that ends the build, as it travels from a worker."""

    message: str
    hint: str


class RemoteWorker:
    """What runs in an actor. Its answers are values: an exception would be Ray's, and lose its remedy."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._opened: Worker | None = None

    def ready(self) -> Refusal | None:
        """Load the model and open the store; return why that cannot be."""
        try:
            patiently(self._worker, self._errand.patience).warm()
        except VsearchError as error:
            return Refusal(str(error), error.hint)
        return None

    def do(self, shard: Shard) -> Outcome | Refusal:
        """Do a shard; return why the whole build must end, if it must."""
        try:
            return self._worker().do(shard)
        except VsearchError as error:
            return Refusal(str(error), error.hint)

    def _worker(self) -> Worker:
        if self._opened is None:
            model, store = self.open()
            errand = self._errand
            self._opened = Worker(model, store, errand.settings, threads=errand.threads, patience=errand.patience)
        return self._opened

    def open(self) -> tuple[Describer, Store]:
        """Return the model, which is that of the machine that began, and the store, which is this model's."""
        from index.stores import open_store
        from vsearch.model import load

        errand = self._errand
        model = load(errand.model, errand.device)
        if model.identity != errand.identity:
            message = f"a worker has another model ({model.identity[:12]}; this one is {errand.identity[:12]})"
            raise VsearchError(message, "install the same vsearch and the same model on all machines")
        store = open_store(errand.store, create=True)
        store.check_identity(errand.identity)
        return model, store


class RayPool:
    """The workers of a cluster: one for each GPU, or for each processor where there are none."""

    def __init__(
        self, address: str, errand: Errand, size: int | None = None, kind: type[RemoteWorker] = RemoteWorker
    ) -> None:
        """Join the cluster at `address`; "auto": that of RAY_ADDRESS, else one on this machine only.

        `size` is the number of workers, where that should be another; a cluster that grows on demand sees it as such.
        `kind` is what runs in an actor. Raises VsearchError if there is no cluster, if ray is not installed, or the
        store is a file.
        """
        if "://" not in errand.store:
            message = f"{errand.store} is a file of one machine: workers of a cluster cannot write to it"
            raise VsearchError(message, "name a store that all of them reach: milvus://HOST:PORT/NAME")
        self._ray, self._own = _joined(address)
        resources = self._ray.cluster_resources()
        processors, gpus = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
        count = size or gpus or processors
        share = max(1, processors // count) if gpus else 1
        remote = self._ray.remote(num_cpus=share, num_gpus=1 if gpus else 0, max_restarts=-1)(kind)
        self._actors = [remote.remote(errand._replace(threads=share + 1)) for _ in range(count)]
        self._free: deque[Any] = deque()
        self._starting: dict[Any, Any] = {}  # answer of `ready` -> actor
        self._busy: dict[Any, tuple[Any, Shard]] = {}  # answer of `do` -> actor, shard
        self._deaths: Counter[str] = Counter()  # of workers, by the shard that they had in hand; "": none
        for actor in self._actors:
            self._start(actor)

    @property
    def workers(self) -> int:
        """How many are there at the moment."""
        return len(self._free) + len(self._busy)

    def run(self, shards: Sequence[Shard]) -> Iterator[Outcome | None]:
        """Have the shards done by whoever is free, and yield what became of each as it is done."""
        todo, seen = deque(shards), time.monotonic()
        try:
            while todo or self._busy:
                while todo and self._free:
                    self._give(self._free.popleft(), todo.popleft())
                outcomes: list[Outcome | None] = [*self.wait(todo)]
                yield from outcomes or [None]
                if self.workers:
                    seen = time.monotonic()
                elif time.monotonic() - seen > _START:
                    raise VsearchError("the cluster starts no worker", "give it processors that are free")
        finally:
            for actor in self._actors:
                self._ray.kill(actor)
            if self._own:
                self._ray.shutdown()

    def wait(self, todo: deque[Shard] | None = None) -> list[Outcome]:
        """Wait a second at most for a worker that is ready or has done a shard; one that died puts it back."""
        answers, _ = self._ray.wait([*self._starting, *self._busy], num_returns=1, timeout=_TICK)
        taken = (self._taken(answer, deque() if todo is None else todo) for answer in answers)
        return [one for one in taken if one is not None]

    def _start(self, actor: Any) -> None:
        """Ask a worker whether it is there; Ray answers once it runs, however often it has to be started."""
        self._starting[actor.ready.options(max_task_retries=-1).remote()] = actor

    def _give(self, actor: Any, shard: Shard) -> None:
        """Give a worker a shard. If it dies, the shard goes to another, so Ray must not wait for this one."""
        self._busy[actor.do.options(max_task_retries=0).remote(shard)] = (actor, shard)

    def _taken(self, answer: Any, todo: deque[Shard]) -> Outcome | None:
        """Take an answer: a worker that is ready, what became of a shard, or the news that a worker died."""
        from ray.exceptions import RayActorError

        actor, shard = (self._starting.pop(answer), None) if answer in self._starting else self._busy.pop(answer)
        try:
            said = self._ray.get(answer)
        except RayActorError as error:
            return self._bury(actor, shard, todo, error)
        if isinstance(said, Refusal):
            raise VsearchError(*said)
        self._free.append(actor)
        return said if isinstance(said, Outcome) else None

    def _bury(self, actor: Any, shard: Shard | None, todo: deque[Shard], error: Exception) -> Outcome | None:
        """Have a dead worker started again, and its shard done by another, unless too many have died of that."""
        name = "" if shard is None else shard.name
        self._deaths[name] += 1
        if shard is None and self._deaths[name] > _DEATHS * len(self._actors):
            raise VsearchError(f"no worker can be started: {_line(error)}", "install the same vsearch on all machines")
        self._start(actor)
        if shard is None:
            return None
        if self._deaths[name] >= _DEATHS:
            return Outcome(name, shard.place, damage=f"{_DEATHS} workers died of it, the last one: {_line(error)}")
        todo.appendleft(shard)
        return None


def _joined(address: str) -> tuple[Any, bool]:
    """Return ray, joined to a cluster, and whether that was done here. Raises VsearchError if there is none."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        import ray
    except ImportError:
        raise VsearchError("a cluster needs the package ray", install_hint("ray")) from None
    if ray.is_initialized():
        return ray, False
    named = os.environ.get("RAY_ADDRESS") if address == "auto" else address
    where = {"address": named} if named else {"include_dashboard": False}
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise VsearchError(f"no Ray cluster at {named or 'this machine'}: {_line(error)}", _NAME_ONE) from None
    return ray, True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
