"""A process that reads DICOM files for another one, so that a decoder that crashes, hangs or swells harms nobody else.

`python -m advassay.sources.dicom.worker FD BYTES`: FD is one end of a socket pair; BYTES caps the process's memory.
Answers come as JSON, and pixels as bare bytes after it: nothing is unpickled on the other side.
"""

from __future__ import annotations

import json
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

from advassay.sources.unreadable import Unreadable

READY = b"ready"


def main() -> None:
    """Answer requests until the other side closes."""
    link, memory = Connection(int(sys.argv[1])), int(sys.argv[2])
    _quiet(memory)
    from advassay.sources.dicom.directory import read_directory
    from advassay.sources.dicom.headers import read_header
    from advassay.sources.dicom.pixels import PixelRules, read_pixels

    link.send_bytes(READY)
    while True:
        try:
            request = json.loads(link.recv_bytes())
        except EOFError:
            return
        if "headers" in request:
            link.send_bytes(json.dumps([read_header(os.fsencode(path)) for path in request["headers"]]).encode())
        elif "directory" in request:
            link.send_bytes(json.dumps(_told(read_directory(os.fsencode(request["directory"])))).encode())
        else:
            _send(link, read_pixels(os.fsencode(request["pixels"]), PixelRules(**request["rules"])))


def _send(link: Connection, pixels: Any) -> None:
    if isinstance(pixels, Unreadable):
        link.send_bytes(json.dumps(_told(pixels)).encode())
        return
    link.send_bytes(json.dumps({"shape": pixels.shape, "type": pixels.dtype.newbyteorder("<").str}).encode())
    waiting = pixels.astype(pixels.dtype.newbyteorder("<"), order="C", copy=False).data.cast("B")
    while waiting:
        waiting = waiting[os.write(link.fileno(), waiting) :]


def _told(answer: Any) -> Any:
    return {"reason": answer.reason, "detail": answer.detail} if isinstance(answer, Unreadable) else answer


def _quiet(memory: int) -> None:
    """Cap the memory; keep pydicom's and the decoders' lines about bad files to itself: they may name them."""
    import logging
    import resource
    import warnings

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import cv2
    import pydicom.config

    cv2.setNumThreads(1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


if __name__ == "__main__":
    main()
