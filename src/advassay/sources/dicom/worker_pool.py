"""Worker processes that may die: each question has a time limit, and a lost worker is replaced."""

from __future__ import annotations

import base64
import json
import os
import pickle
import queue
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

import numpy as np

from advassay.errors import SourceError
from advassay.sources.base import prefetch
from advassay.sources.dicom.pixel_reader import DecodedImage, PixelRules
from advassay.sources.dicom.worker_process import READY
from advassay.sources.read_failures import Unreadable

Given = TypeVar("Given")
Result = TypeVar("Result")
Made = tuple[Any, bytes]
"""What work done in a worker gives: a part that JSON holds, and bytes."""

START_LIMIT_S = 120.0
HEADER_LIMIT_S = 20.0
"""For one file's header; a batch has this much once, and a file that breaks it is found by asking one by one."""
DIRECTORY_LIMIT_S = 600.0
PIXELS_LIMIT_S = 60.0
"""For one image: a mammogram in JPEG 2000 takes about two seconds on a slow core."""
BATCH = 64
_BUFFER_BYTES = 1 << 20
_BASE_BYTES = 3 << 30
_BYTES_PER_PIXEL = 48


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


CRASHED: Final = "decoder crashed"


class WorkerDied(Exception):
    """A worker died or was stopped; the reason is an Unreadable's."""

    def __init__(self, unreadable: Unreadable) -> None:
        super().__init__(unreadable.reason)
        self.unreadable = unreadable


class DicomWorkerPool:
    """At most `workers` processes, started when first needed, ended with this object. Answers come in order."""

    def __init__(self, workers: int | None = None, most_pixels: int = 64_000_000) -> None:
        self._size = workers or cores()
        self._memory = _BASE_BYTES + _BYTES_PER_PIXEL * most_pixels
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._all: set[_Worker] = set()
        for _ in range(self._size):
            self._idle.put(None)  # a place for a worker not started yet
        self._finalizer = weakref.finalize(self, _stop_all, self._all)

    def close(self) -> None:
        """End the processes; those that are needed again are started again."""
        _stop_all(self._all)
        while not self._idle.empty():
            self._idle.get_nowait()
        for _ in range(self._size):
            self._idle.put(None)

    def headers(self, paths: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Header facts of each file, in order; see headers.read_header."""
        for batch in prefetch(self._header_batch, _batches(paths), threads=self._size, most=4 * self._size):
            yield from batch

    def pixels(
        self, paths: Sequence[str], rules: PixelRules, work: Callable[[np.ndarray | Unreadable], Result]
    ) -> Iterator[Result]:
        """`work` applied, in a thread of this process, to the image of each file, in order; see pixels.read_pixels."""
        return self.ahead(lambda path: work(self.image(path, rules)), paths)

    def ahead(self, ask: Callable[[Given], Result], items: Iterable[Given]) -> Iterator[Result]:
        """`ask(item)` of each item, in order, with as many questions at a time as there are workers."""
        return prefetch(ask, items, threads=self._size, most=2 * self._size)

    def image(self, path: str, rules: PixelRules, limit_s: float = PIXELS_LIMIT_S) -> np.ndarray | Unreadable:
        """The image of one file."""
        decoded = self.decoded(path, rules, limit_s)
        return decoded if isinstance(decoded, Unreadable) else decoded.pixels

    def decoded(self, path: str, rules: PixelRules, limit_s: float = PIXELS_LIMIT_S) -> DecodedImage | Unreadable:
        """The image of one file, and what had to be decided to read it."""
        try:
            return self._ask({"pixels": path, "rules": rules._asdict()}, limit_s, _received_pixels)
        except WorkerDied as lost:
            return lost.unreadable

    def made(
        self,
        path: str,
        rules: PixelRules,
        work: Callable[[np.ndarray | Unreadable], Made],
        limit_s: float = PIXELS_LIMIT_S,
    ) -> tuple[Made, tuple[str, ...]]:
        """`work` applied to the image of one file in the worker that decoded it; and notes about the image.

        `work` travels pickled; what comes back is JSON and bytes, never a pickle.
        """
        packed = base64.b64encode(pickle.dumps(work)).decode()
        try:
            return self._ask({"pixels": path, "rules": rules._asdict(), "work": packed}, limit_s, _received_made)
        except WorkerDied as lost:
            return work(lost.unreadable), ()

    def directory(self, path: str) -> list[list[str]] | Unreadable:
        """The files a DICOMDIR names; see directory.read_directory."""
        try:
            return self._ask({"directory": path}, DIRECTORY_LIMIT_S, _received_directory)
        except WorkerDied as lost:
            return lost.unreadable

    def _header_batch(self, paths: list[str]) -> list[dict[str, Any]]:
        try:
            return self._ask({"headers": paths}, HEADER_LIMIT_S, _received_headers)
        except WorkerDied as lost:
            if len(paths) == 1:
                return [{"reason": lost.unreadable.reason, "detail": lost.unreadable.detail}]
        return [facts for path in paths for facts in self._header_batch([path])]

    def _ask(self, request: dict[str, Any], limit_s: float, receive: Callable[[_Worker, float], Result]) -> Result:
        """The answer of a worker. One that dies is asked a second time: it may have been killed for another's sake."""
        try:
            return self._ask_once(request, limit_s, receive)
        except WorkerDied as lost:
            if lost.unreadable.reason != CRASHED:
                raise
        return self._ask_once(request, limit_s, receive)

    def _ask_once(self, request: dict[str, Any], limit_s: float, receive: Callable[[_Worker, float], Result]) -> Result:
        worker = self._idle.get() or self._started()
        try:
            worker.link.send_bytes(json.dumps(request).encode())
            answer = receive(worker, limit_s)
        except (EOFError, OSError) as error:
            self._drop(worker)
            raise WorkerDied(Unreadable(CRASHED, "its process died")) from error
        except BaseException:
            self._drop(worker)
            raise
        self._idle.put(worker)
        return answer

    def _started(self) -> _Worker:
        try:
            worker = _Worker(self._memory)
        except BaseException:
            self._idle.put(None)
            raise
        self._all.add(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        self._all.discard(worker)
        worker.stop()
        self._idle.put(None)


class _Worker:
    """One process and the link to it. Raises SourceError where the process does not come up."""

    def __init__(self, memory: int) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "advassay.sources.dicom.worker_process", str(theirs.fileno()), str(memory)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders write about bad files there, and name them
            )
        self.link = Connection(ours.detach())
        try:
            ready = self.receive(START_LIMIT_S) == READY
        except (EOFError, OSError, WorkerDied):
            ready = False
        if not ready:
            self.stop()
            raise SourceError(
                "sources: a process that reads DICOM files does not start.",
                "Run `python -c 'import pydicom, gdcm'` to see why.",
            )

    def receive(self, limit_s: float) -> bytes:
        """The next message. Raises Lost after `limit_s` seconds, EOFError or OSError where the process died."""
        if not self.link.poll(limit_s):
            raise WorkerDied(Unreadable("out of time", f"no answer within {limit_s:g} s"))
        return self.link.recv_bytes()

    def receive_into(self, array: np.ndarray, limit_s: float) -> None:
        """Bare bytes that fill `array`, read where they are to lie: a message of that size would be copied twice."""
        if not self.link.poll(limit_s):
            raise WorkerDied(Unreadable("out of time", f"no answer within {limit_s:g} s"))
        missing = array.data.cast("B")
        while missing:
            read = os.readv(self.link.fileno(), [missing])
            if not read:
                raise EOFError
            missing = missing[read:]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.link.close()


def _received_headers(worker: _Worker, limit_s: float) -> list[dict[str, Any]]:
    return list(json.loads(worker.receive(limit_s)))


def _received_directory(worker: _Worker, limit_s: float) -> list[list[str]] | Unreadable:
    told = json.loads(worker.receive(limit_s))
    return Unreadable(told["reason"], told["detail"]) if isinstance(told, dict) else told


def _received_pixels(worker: _Worker, limit_s: float) -> DecodedImage | Unreadable:
    told = json.loads(worker.receive(limit_s))
    if "reason" in told:
        return Unreadable(told["reason"], told["detail"])
    pixels = np.empty(told["shape"], told["type"])
    worker.receive_into(pixels, limit_s)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if told["masked"]:
        packed = np.empty((pixels.size + 7) // 8, np.uint8)
        worker.receive_into(packed, limit_s)
        mask = np.unpackbits(packed, count=pixels.size).reshape(pixels.shape).astype(bool)
        pixels = np.ma.MaskedArray(pixels, mask)
    return DecodedImage(pixels, tuple(told["notes"]))


def _received_made(worker: _Worker, limit_s: float) -> tuple[tuple[Any, bytes], tuple[str, ...]]:
    answer = json.loads(worker.receive(limit_s))
    made = np.empty(answer["bytes"], np.uint8)
    if answer["bytes"]:
        worker.receive_into(made, limit_s)
    return (answer["told"], made.tobytes()), tuple(answer["notes"])


def _stop_all(workers: set[_Worker]) -> None:
    while workers:
        workers.pop().stop()


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for path in paths:
        batch.append(path)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
