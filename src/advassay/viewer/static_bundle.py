"""Chosen images with their proofs as a folder of files that a browser opens without a server.

The pages are the viewer's own: its modules are joined to one script, because browsers load no module from a file, with
`bundle_source.js` in place of `source.js`. A case is a script too, for the same reason. Nothing in the folder asks for
anything outside it.
"""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advassay import __version__
from advassay.errors import SpecError, StoreError
from advassay.records.gallery import grey_levels
from advassay.report.figures.image_panels import Cell, Picture, Row, difference, display, plate
from advassay.report.figures.theme import styles
from advassay.report.output.figure_files import specification, to_svg, write_figure
from advassay.report.text.number_format import percent
from advassay.store_layout import writing
from advassay.viewer.case_selection import Case
from advassay.viewer.image_export import factor_of
from advassay.viewer.opened_store import OpenedStore
from advassay.viewer.recomputation import Proof, Recomputed, Recomputer
from advassay.viewer.stored_row import stored_row

STATIC = Path(__file__).parent / "static"
LEVELS = 65_535
"""Pixels are rounded to this many levels: 16-bit images keep theirs, and so does an ε of a tenth of an 8-bit level."""
THUMBNAIL = 128
"""Side of the pictures in the list, in pixels, at most."""
POLICY = "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src data: blob:; base-uri 'none'"
"""Content-Security-Policy of the pages: no connection at all, and no script but the folder's own."""


def write_bundle(
    opened: OpenedStore, cases: Sequence[Case], folder: Path, *, tell: Callable[[str], None] = lambda _: None
) -> list[Case]:
    """Write index.html, image.html, scripts, a style, and figure.svg, .png and .pdf of the cases; what is not proved.

    Cases that are not proved are listed as such and have no pixels. `tell` is told of each case. Raises SpecError where
    `folder` holds something already or there is no case, StoreError where no case is proved.
    """
    if not cases:
        raise SpecError("--bundle: there is no image that may be shown.", "Give --show-all-images, or --images.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"--bundle: expected a new or empty folder, {folder.name} holds files.", "Choose another one.")
    recomputer = Recomputer(opened)
    listed, rows, refused = [], [], []
    try:
        for number, case in enumerate(cases, 1):
            tell(f"{number} of {len(cases)}: {case.cohort}, image {case.image_id}")
            content, made = _content(opened, recomputer, case, cases)
            if made.iterates is None:
                refused.append(case)
                tell(f"Not proved: {made.proof.reason}")
            else:
                rows.append(_figure_row(opened, case, made))
            name = f"case-{number:04d}.js"
            _write(folder / name, f"advassayBundle.take({json.dumps(name)}, {_json(content)});\n")
            listed.append(_entry(case, name, content, made))
    finally:
        recomputer.close()
    if not rows:
        raise StoreError(f"--bundle: none of {len(cases)} images is proved. {made.proof.reason}")
    title = {"title": opened.title, "version": __version__, "cases": listed}
    _write(folder / "cases.js", f"globalThis.advassayBundle = {_json(title)};\n")
    _write(folder / "image.js", classic_script("image.js"))
    _write(folder / "index.js", classic_script("bundle.js"))
    _write(folder / "viewer.css", (STATIC / "viewer.css").read_text(encoding="utf-8"))
    _write(folder / "image.html", bundle_page("image.html", "image.js"))
    _write(folder / "index.html", bundle_page("bundle.html", "index.js"))
    _write_figure(opened, rows, folder)
    return refused


def _content(
    opened: OpenedStore, recomputer: Recomputer, case: Case, cases: Sequence[Case]
) -> tuple[dict[str, Any], Recomputed]:
    """(rows, proofs and pixels at every ε; what was made at the case's own ε)."""
    held = [(one.run_id, one.step_size) for one in cases if one.image_id == case.image_id]
    content: dict[str, Any] = {"rows": [], "proofs": [], "pixels": []}
    own = recomputer.wait(case.run_id, case.image_id, case.step_size, case.epsilon)
    for epsilon in opened.epsilons(case.run_id, case.step_size):
        try:
            row = stored_row(opened, case.run_id, case.image_id, case.step_size, epsilon)
        except StoreError:  # not attacked at this ε
            continue
        row["step_sizes"] = [name for run, name in held if run == case.run_id]
        row["other_runs"] = [
            one | {"points": {size: grid for size, grid in one["points"].items() if (one["run"], size) in held}}
            for one in row["other_runs"]
            if one["run"] in {run for run, _ in held}
        ]
        made = recomputer.wait(case.run_id, case.image_id, case.step_size, epsilon)
        content["rows"].append(row)
        content["proofs"].append(_proof(made.proof))
        content["pixels"].append(None if made.iterates is None else packed(made.iterates))
    held_epsilons = [row["epsilon"] for row in content["rows"]]
    for row in content["rows"]:
        row["epsilons"] = held_epsilons
    return content, own


def _proof(proof: Proof) -> dict[str, Any]:
    when = f" Proved when this bundle was written, by advassay {__version__}." if proof.shown else ""
    told = {name: getattr(proof, name) for name in ("status", "shown", "iterates", "largest", "weights_sha256")}
    return told | {"reason": proof.reason + when}


def packed(iterates: np.ndarray) -> dict[str, Any]:
    """Iterates (K + 1, channel, height, width) in [0, 1] as levels of 65,535: each less the one before, modulo 2¹⁶,
    little-endian, deflated, in base 64.

    >>> packed(np.array([0.0, 1.0, 0.5], np.float32).reshape(3, 1, 1, 1))["shape"]
    [3, 1, 1, 1]
    """
    levels = np.rint(np.clip(iterates, 0, 1).astype(np.float64) * LEVELS).astype(np.uint16)
    steps = np.diff(levels, axis=0, prepend=np.zeros_like(levels[:1]))  # unsigned: wraps, and so does the sum
    data = zlib.compress(steps.astype("<u2").tobytes(), 6)
    return {"shape": list(iterates.shape), "data": base64.b64encode(data).decode()}


def _entry(case: Case, name: str, content: dict[str, Any], made: Recomputed) -> dict[str, Any]:
    """What the list says of a case."""
    row = next(row for row in content["rows"] if row["epsilon"] == case.epsilon)
    named = [row["classes"][c] if c >= 0 else "none (NaN)" for c in (row["predicted"][0], row["predicted"][-1])]
    return {
        "file": name,
        "key": {"run": case.run_id, "image": case.image_id, "step_size": case.step_size, "epsilon": case.epsilon},
        "cohort": case.cohort,
        "arm": row["arm"],
        "outcome": case.outcome,
        "label": row["classes"][row["label"]],
        "clean": named[0],
        "attacked": named[1],
        "proof": made.proof.status,
        "thumbnails": [] if made.iterates is None else [_thumbnail(made.iterates[k], row["bits"]) for k in (0, -1)],
    }


def _thumbnail(image: np.ndarray, bits: int) -> str:
    from PIL import Image

    shown, written = Image.fromarray(display(grey_levels(image, bits))), io.BytesIO()
    shown.thumbnail((THUMBNAIL, THUMBNAIL))
    shown.save(written, "PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


def _figure_row(opened: OpenedStore, case: Case, made: Recomputed) -> tuple[Case, dict[str, Any], tuple[Picture, ...]]:
    """Clean, attacked, difference with what is written below them, as figures of the report have it."""
    header = opened.run(case.run_id).header
    row = stored_row(opened, case.run_id, case.image_id, case.step_size, case.epsilon)
    assert made.iterates is not None
    clean, attacked = (grey_levels(made.iterates[k], header.bits) for k in (0, -1))
    factor = factor_of(clean, attacked, header, case.epsilon)

    def said(k: int) -> str:
        decision = row["predicted"][k]
        return (
            "no decision"
            if decision < 0
            else f"{row['classes'][decision]} {percent(row['probabilities'][k][decision])}"
        )

    fallen = bool(row["misclassified"][-1])
    pictures = (
        Picture(display(clean), "Clean image", below=(f"clean: {said(0)}",)),
        Picture(display(attacked), "Attacked image", below=(f"ε = {case.epsilon:g}: {said(-1)}",), fallen=fallen),
        Picture(difference(clean, attacked, factor), "Difference", below=(f"difference × {factor:g}",)),
    )
    return case, row, pictures


def _write_figure(
    opened: OpenedStore, rows: list[tuple[Case, dict[str, Any], tuple[Picture, ...]]], folder: Path
) -> None:
    colours = styles({header.cohort: header.image_type for header in opened.records.headers})
    shown = [
        Row(f"{case.cohort} – {row['classes'][row['label']]}", (Cell(pictures),), colours[case.cohort].colour)
        for case, row, pictures in rows
    ]
    told = "; ".join(
        f"{case.cohort}, image {case.image_id}: {case.outcome}, arm {row['arm']}, step size {case.step_size}, ε = "
        f"{case.epsilon:g}, {row['steps']} iterations"
        for case, row, _ in rows
    )
    svg = to_svg(specification(plate(shown, stacked=False, columns=1)))
    write_figure(
        svg, folder / "figure.svg", f"{opened.title}: chosen images", f"Clean, attacked and difference. {told}."
    )


# ---- pages and scripts ----------------------------------------------------------------------------------------------

IMPORT = re.compile(r'^import \{.*\} from "\./([a-z_]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export ", re.MULTILINE)
REPLACED = {"source.js": "bundle_source.js"}


def classic_script(entry: str) -> str:
    """A module of `static/` with all that it imports as one script in one scope, each module before those that need it.

    The modules are written for it: imports stand on a line of their own, without other names, and no two modules
    declare a name twice at their outermost level.
    """
    parts: dict[str, str] = {}

    def add(name: str, above: tuple[str, ...] = ()) -> None:
        name = REPLACED.get(name, name)
        if name in parts or name in above:
            return
        text = (STATIC / name).read_text(encoding="utf-8")
        for needed in IMPORT.findall(text):
            add(needed, (*above, name))
        parts[name] = EXPORT.sub("", IMPORT.sub("", text)).replace("// @ts-check\n", "")

    add(entry)
    return '(() => {\n"use strict";\n' + "\n".join(parts.values()) + "})();\n"


def bundle_page(name: str, script: str) -> str:
    """A page of `static/` as the bundle has it: the folder's scripts, its own policy, no way to the server's pages."""
    text = (STATIC / name).read_text(encoding="utf-8")
    text = re.sub(r'<script type="module" src="/static/[a-z_]+\.js"></script>\n', "", text)
    scripts = f'<script defer src="cases.js"></script>\n<script defer src="{script}"></script>\n</head>'
    policy = f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    text = text.replace("</head>", scripts).replace('<meta charset="utf-8">', policy)
    text = re.sub(r'(<nav aria-label="Pages">).*(</nav>)', r'\1<a href="index.html">Chosen images</a>\2', text)
    return text.replace("/static/viewer.css", "viewer.css")


def _json(value: Any) -> str:
    """JSON that is also a script's text, in ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _write(path: Path, text: str) -> None:
    with writing(path) as beside:
        beside.write_text(text, encoding="utf-8")
