"""A process that reads DICOM files for another one, so that a decoder that crashes, hangs or swells harms nobody else.

`python -m advassay.sources.dicom.worker_process FD BYTES`: FD is one end of a socket pair; BYTES caps the process's
memory. Answers come as JSON, and pixels as bare bytes after it: nothing is unpickled on the other side.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from advassay.sources.dicom.pixel_reader import DecodedImage, PixelRules, read_pixels
from advassay.sources.read_failures import Unreadable

READY = b"ready"


def main() -> None:
    """Answer requests until the other side closes."""
    link, memory = Connection(int(sys.argv[1])), int(sys.argv[2])
    _quiet(memory)
    from advassay.sources.dicom.header_reader import read_header
    from advassay.sources.dicom.open_dicom_file import read_directory

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
            image = read_pixels(os.fsencode(request["pixels"]), PixelRules(**request["rules"]))
            if "work" in request:  # pickled by the process that started this one
                _send_result(link, image, pickle.loads(base64.b64decode(request["work"])))
            else:
                _send(link, image)


def _send(link: Connection, image: DecodedImage | Unreadable) -> None:
    if isinstance(image, Unreadable):
        link.send_bytes(json.dumps(_told(image)).encode())
        return
    pixels, mask = np.ma.getdata(image.pixels), np.ma.getmask(image.pixels)
    masked = mask is not np.ma.nomask
    facts = {"shape": pixels.shape, "type": pixels.dtype.newbyteorder("<").str, "masked": masked, "notes": image.notes}
    link.send_bytes(json.dumps(facts).encode())
    _send_bare(link, pixels.astype(pixels.dtype.newbyteorder("<"), order="C", copy=False).data.cast("B"))
    if masked:
        _send_bare(link, np.packbits(mask).data)


def _send_result(link: Connection, image: DecodedImage | Unreadable, work: Callable[[Any], tuple[Any, bytes]]) -> None:
    """What `work` makes of the image: a part for JSON, and bytes."""
    told, made = work(image.pixels if isinstance(image, DecodedImage) else image)
    notes = image.notes if isinstance(image, DecodedImage) else ()
    link.send_bytes(json.dumps({"told": told, "bytes": len(made), "notes": notes}).encode())
    _send_bare(link, memoryview(made))


def _send_bare(link: Connection, waiting: memoryview) -> None:
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
