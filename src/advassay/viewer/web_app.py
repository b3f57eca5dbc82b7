"""The viewer's addresses and their answers. Names and labels are JSON; pixels are float32 as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from advassay.errors import AdvassayError
from advassay.optional_libraries import is_installed
from advassay.success import Reading
from advassay.viewer.image_export import What, dicom, png
from advassay.viewer.image_table import At, Filters, ImageTable
from advassay.viewer.opened_store import NotInStoreError, OpenedStore
from advassay.viewer.overview import Overview
from advassay.viewer.reader_results import reader_results
from advassay.viewer.reader_sessions import ReaderStudy, Side
from advassay.viewer.recomputation import Proof, Recomputed, Recomputer, Task
from advassay.viewer.request_checks import RequestChecks
from advassay.viewer.stored_row import other_runs, stored_row

STATIC = Path(__file__).parent / "static"
PAGES = {"/": "index.html", "/images": "images.html", "/image": "image.html", "/readers": "readers.html"}
BLIND_PAGES = {"/": "reader.html"}
"""While a reader study is held: no other page, since they show which image was attacked."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}

Text = Annotated[str, Query(max_length=300)]
OptionalText = Annotated[str | None, Query(max_length=300)]
Number = Annotated[float, Query(ge=0, le=1e9, allow_inf_nan=False)]
OptionalNumber = Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)]
Which = Literal["", "other"]
"""The store that is looked at, or the one it is compared with."""
OptionalStep = Annotated[int | None, Query(ge=0, le=10**6)]


class ReaderAnswer(BaseModel):
    """What a reader's page sends."""

    model_config = ConfigDict(extra="forbid")

    reader: str = Field(max_length=300)
    trial: int = Field(ge=1, le=10**6)
    changed: Side
    diagnosis: str = Field(max_length=300)


def web_app(
    opened: OpenedStore,
    hosts: frozenset[str],
    *,
    token: str | None = None,
    recomputer: Recomputer | None = None,
    other: OpenedStore | None = None,
    readers: int | None = None,
    seed: int = 0,
) -> FastAPI:
    """The application.

    hosts    values of the header Host under which it answers
    token    what requests must bring
    other    a store whose records of the same images are offered for comparison
    readers  hold a reader study with so many images of each cohort, and show nothing else; `seed`: of a new one

    Raises SpecError or StoreError where no reader study can be held.
    """
    recompute = recomputer or Recomputer(opened)
    stores = Stores(opened, recompute, other, None if other is None else Recomputer(other))
    study = None if readers is None else ReaderStudy(opened, recompute, per_cohort=readers, seed=seed)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        if study is None:
            opened.findings()  # begins beside the first page
        yield
        stores.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=running)
    app.add_middleware(RequestChecks, hosts=hosts, token=token)

    @app.exception_handler(AdvassayError)
    async def told(request: Request, error: AdvassayError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=404 if isinstance(error, NotInStoreError) else 400)

    _add_pages(app, PAGES if study is None else BLIND_PAGES)
    _add_store(app, opened)
    if study is not None:
        _add_readers(app, study)
        return app
    _add_overview(app, opened)
    _add_images(app, stores, ImageTable(opened))
    _add_pixels(app, stores)
    _add_answers(app, opened)
    return app


def _add_pages(app: FastAPI, pages: dict[str, str]) -> None:
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}

    def page_of(name: str) -> Any:
        def page() -> FileResponse:
            return FileResponse(files[name], media_type=TYPES[".html"])

        return page

    for address, name in pages.items():
        app.add_api_route(address, page_of(name), methods=["GET", "HEAD"])

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name == "vega.js":
            return Response(_vega(), media_type=TYPES[".js"])
        if name not in files:  # a name from a list, never a path
            return JSONResponse({"error": "No such file."}, status_code=404)
        return FileResponse(files[name], media_type=TYPES[files[name].suffix])


@cache
def _vega() -> str:
    from advassay.report.output.figure_files import javascript

    return javascript()


def _add_store(app: FastAPI, opened: OpenedStore) -> None:
    @app.get("/api/store")
    def store() -> dict[str, Any]:
        return {
            "title": opened.title,
            "name": opened.store.root.name,
            "warnings": opened.warnings,
            "changed": opened.has_changed(),
            "dicom": is_installed("pydicom"),
            "without_images": [cohort for cohort in opened.records.cohorts if not opened.may_show(cohort)],
        }


def _add_overview(app: FastAPI, opened: OpenedStore) -> None:
    made: list[Overview] = []

    def overview() -> Overview:
        state = opened.wait_for_findings()
        if state.findings is None:
            raise AdvassayError(state.reason)
        if not made:
            made.append(Overview(state.findings))
        return made[0]

    @app.get("/api/findings")
    def findings() -> dict[str, Any]:
        state = opened.findings()
        told: dict[str, Any] = {"state": state.state, "reason": state.reason}
        return told | (overview().document() if state.state == "ready" else {})

    @app.get("/api/figure")
    def figure(key: Text, narrow: bool = False) -> dict[str, Any]:
        return overview().figure(key, narrow=narrow)

    @app.get("/api/surface")
    def surface(
        cohort: Text, arm: Text, step_size: Text, success: Reading = "last", narrow: bool = False
    ) -> dict[str, Any]:
        return overview().surface(opened, cohort, arm, step_size, success, narrow=narrow)


@dataclass(frozen=True)
class Stores:
    """The store that is looked at, and the one that it is compared with."""

    opened: OpenedStore
    recompute: Recomputer
    other: OpenedStore | None
    recompute_other: Recomputer | None

    def of(self, which: Which) -> tuple[OpenedStore, Recomputer]:
        """Raises NotInStoreError where there is no other one."""
        if not which:
            return self.opened, self.recompute
        if self.other is None or self.recompute_other is None:
            raise NotInStoreError("store: there is no other one.", "Start the viewer with --compare-with.")
        return self.other, self.recompute_other

    def close(self) -> None:
        for one in (self.recompute, self.recompute_other):
            if one is not None:
                one.close()


def _add_images(app: FastAPI, stores: Stores, table: ImageTable) -> None:
    @app.get("/api/choices")
    def choices() -> dict[str, Any]:
        return table.choices()

    @app.get("/api/images")
    def images(
        request: Request,
        epsilon: OptionalNumber = None, step: OptionalStep = None, reading: Reading = "last",
        cohort: OptionalText = None, arm: OptionalText = None, step_size: OptionalText = None,
        network: OptionalText = None, run: OptionalText = None, label: OptionalText = None,
        clean_predicted: OptionalText = None, predicted: OptionalText = None, success: bool | None = None,
        attackable: bool | None = None, lost_again: bool | None = None, flag: OptionalText = None,
        image: OptionalText = None, confidence_from: OptionalNumber = None, confidence_to: OptionalNumber = None,
        smallest_epsilon_to: OptionalNumber = None, iterations_to: OptionalStep = None, sort: Text = "cohort",
        descending: bool = False, 
        offset: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:  # fmt: skip
        groups = tuple((name, value) for name, value in request.query_params.items() if name.startswith("subgroup_"))
        filters = Filters(
            cohort, arm, step_size, network, run, label, clean_predicted, predicted, success, attackable, lost_again,
            flag, image, confidence_from, confidence_to, smallest_epsilon_to, iterations_to, groups,
        )  # fmt: skip
        at = At(epsilon, step, reading)
        return table.page(at, filters, sort=sort, descending=descending, offset=offset, limit=limit)

    @app.get("/api/image")
    def image(run: Text, image: Text, step_size: Text, epsilon: Number, store: Which = "") -> dict[str, Any]:
        found = stored_row(stores.of(store)[0], run, image, step_size, epsilon) | {"store": store}
        if not store and stores.other is not None:
            beside = other_runs(stores.other, found["image"])
            found["other_runs"] += [one | {"store": "other", "title": stores.other.title} for one in beside]
        return found


def _add_pixels(app: FastAPI, stores: Stores) -> None:
    @app.get("/api/trajectory")
    def trajectory(run: Text, image: Text, step_size: Text, epsilon: Number, store: Which = "") -> dict[str, Any]:
        """Begin to make a row's iterates, or say how far that is, or what the proof says."""
        found = stores.of(store)[1].request(run, image, step_size, epsilon)
        if isinstance(found, Task):
            return {"state": "computing" if found.begun else "waiting", "done": found.done, "expected": found.expected}
        return {"state": "done", "proof": _as_json(found.proof)}

    @app.get("/api/pixels")
    def pixels(
        run: Text, image: Text, step_size: Text, epsilon: Number, step: Annotated[int, Query(ge=0)], store: Which = ""
    ) -> Response:
        """One iterate: float32, little-endian, (channel, height, width) as the header X-Shape says."""
        found = _shown(stores.of(store)[1], run, image, step_size, epsilon, step)
        if isinstance(found, Response):
            return found
        return _as_floats(found)

    @app.get("/api/png")
    def as_png(
        run: Text, image: Text, step_size: Text, epsilon: Number, step: Annotated[int, Query(ge=0)], what: What
    ) -> Response:
        """A proved iterate as a file to save."""
        return saved("png", run, image, step_size, epsilon, step, what)

    @app.get("/api/dicom")
    def as_dicom(
        run: Text, image: Text, step_size: Text, epsilon: Number, step: Annotated[int, Query(ge=0)],
        what: Literal["clean", "attacked"],
    ) -> Response:  # fmt: skip
        """The same as DICOM; an error where the extra is not installed."""
        return saved("dicom", run, image, step_size, epsilon, step, what)

    def saved(
        kind: Literal["png", "dicom"], run: str, image: str, step_size: str, epsilon: float, step: int, what: What
    ) -> Response:
        opened, recompute = stores.of("")
        shown = _shown(recompute, run, image, step_size, epsilon, step)
        if isinstance(shown, Response):
            return shown
        made, header = recompute.get(run, image, step_size, epsilon), opened.run(run).header
        if made is None:  # let go of just now
            return JSONResponse({"error": "It has to be made first: /api/trajectory."}, status_code=409)
        point: dict[str, Any] = {"image_id": image, "step_size": step_size, "epsilon": epsilon, "step": step}
        if kind == "dicom" and what != "difference":
            content, media, suffix = dicom(made, header, what, **point), "application/dicom", "dcm"
        else:
            content, media, suffix = png(made, header, what, **point), "image/png", "png"
        name = f"{header.run_id}-{image}-{epsilon:g}-{step}-{what}.{suffix}"
        kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-.") else "_" for sign in name)
        return Response(content, media_type=media, headers={"Content-Disposition": f'attachment; filename="{kept}"'})


def _add_readers(app: FastAPI, study: ReaderStudy) -> None:
    """A reader study: the pair to judge, its pixels, an answer. Paths are the store's; a request names a pseudonym."""

    @app.get("/api/reader/next")
    def next_pair(reader: Text) -> dict[str, Any]:
        return study.next(reader)

    @app.get("/api/reader/pixels")
    def pixels(reader: Text, trial: Annotated[int, Query(ge=1, le=10**6)], side: Side) -> Response:
        return _as_floats(study.pixels(reader, trial, side))

    @app.post("/api/reader/answer")
    def answer(given: ReaderAnswer) -> dict[str, Any]:
        study.answer(given.reader, given.trial, given.changed, given.diagnosis)
        return {"kept": True}


def _add_answers(app: FastAPI, opened: OpenedStore) -> None:
    @app.get("/api/readers")
    def readers() -> dict[str, Any]:
        """What a reader study found: shares of right answers by ε, the ε of visibility beside the network's ε₅₀."""
        return reader_results(opened)


def _as_floats(image: np.ndarray) -> Response:
    """float32, little-endian, (channel, height, width) as the header X-Shape says."""
    shape = ",".join(map(str, image.shape))
    return Response(image.astype("<f4").tobytes(), media_type="application/octet-stream", headers={"X-Shape": shape})


def _shown(
    recompute: Recomputer, run: str, image: str, step_size: str, epsilon: float, step: int
) -> np.ndarray | Response:
    """An iterate that is proved, or the answer that says why there is none."""
    found: Recomputed | None = recompute.get(run, image, step_size, epsilon)
    if found is None:
        return JSONResponse({"error": "It has to be made first: /api/trajectory."}, status_code=409)
    if not found.proof.shown or found.iterates is None:
        return JSONResponse({"error": found.proof.reason, "proof": _as_json(found.proof)}, status_code=409)
    if step >= len(found.iterates):
        return JSONResponse({"error": f"step: 0 to {len(found.iterates) - 1}."}, status_code=404)
    one: np.ndarray = found.iterates[step]
    return one


def _as_json(proof: Proof) -> dict[str, Any]:
    return {
        "status": proof.status,
        "shown": proof.shown,
        "reason": proof.reason,
        "iterates": proof.iterates,
        "largest": proof.largest,
        "weights_sha256": proof.weights_sha256,
    }
