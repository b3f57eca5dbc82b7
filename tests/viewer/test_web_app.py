"""What the viewer answers: the report's numbers, rows that filters combine, and nothing to anybody else."""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from advassay.cohorts import open_cohort
from advassay.png_files import decode_png
from advassay.records.gallery import read_gallery, read_image
from advassay.report import gather
from advassay.report.data.findings import Findings
from advassay.success import probabilities
from advassay.viewer import OpenedStore, web_app
from advassay.viewer.image_table import At, Filters, ImageTable
from advassay.viewer.request_checks import POLICY
from advassay.viewer.web_app import STATIC


@pytest.fixture(scope="module")
def findings(finished: Path) -> Findings:
    return gather(finished)


def answered(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ready(client: TestClient) -> dict[str, Any]:
    while (found := answered(client, "/api/findings"))["state"] == "computing":
        time.sleep(0.05)
    return found


def test_the_first_page_has_the_report_s_numbers(client: TestClient, findings: Findings) -> None:
    found = ready(client)
    assert found["state"] == "ready"
    assert [one["headline"] for one in found["verdicts"]] == [one.headline for one in findings.conclusions]
    table = findings.tables["success_by_iteration"]
    shown = ["epsilon", "step", "rate", "low", "high", "n", "events"]
    for arm, step_size in found["step_sizes"].items():
        surface = answered(
            client, "/api/surface", cohort="X-AGE", arm=arm, step_size=step_size, success=found["success"]
        )
        assert surface["rows"] == table.filter(arm=arm, cohort="X-AGE").select(shown).to_dicts()


def test_behind_every_number_of_a_surface_stand_so_many_images(client: TestClient) -> None:
    ready(client)
    for arm, step_size, reading in (("A", "0.01", "last"), ("C", "epsilon/2", "any"), ("C", "epsilon/4", "last")):
        query = {"cohort": "X-AGE", "arm": arm, "step_size": step_size}
        for row in answered(client, "/api/surface", success=reading, **query)["rows"]:
            at = query | {"epsilon": row["epsilon"], "step": row["step"], "reading": reading, "network": "main"}
            assert answered(client, "/api/images", success=True, **at)["total"] == row["events"]
            assert answered(client, "/api/images", attackable=True, **at)["total"] == row["n"]


def test_every_listed_figure_is_drawn_at_both_widths(client: TestClient) -> None:
    found = ready(client)
    assert len(found["figures"]) > 5
    for one in found["figures"][:4]:
        for narrow in (False, True):
            assert "config" in answered(client, "/api/figure", key=one["key"], narrow=narrow)


def test_filters_combine_and_pages_join_to_the_whole(client: TestClient) -> None:
    whole = answered(client, "/api/images", limit=500)["rows"]
    assert len(whole) == 12 * 3  # images × (arm A, arm C at two step sizes)
    pages = [answered(client, "/api/images", limit=7, offset=offset)["rows"] for offset in range(0, 36, 7)]
    assert [row for page in pages for row in page] == whole
    chosen = {"arm": "C", "label": "norm", "success": True, "confidence_from": 0.5}
    wanted = [
        row for row in whole
        if row["arm"] == "C" and row["label"] == "norm" and row["success"] and row["clean_confidence"] >= 0.5
    ]  # fmt: skip
    assert answered(client, "/api/images", limit=500, **chosen)["rows"] == wanted
    assert answered(client, "/api/images", image=whole[0]["image"][:6], arm="A")["total"] == 1


@pytest.mark.parametrize("descending", [False, True])
def test_rows_stand_in_the_order_asked_for_with_unknown_values_last(client: TestClient, descending: bool) -> None:
    for key in ("clean_confidence", "smallest_epsilon", "iterations"):
        rows = answered(client, "/api/images", sort=key, descending=descending, limit=500)["rows"]
        values = [row[key] for row in rows]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=descending)
        assert values[len(known) :] == [None] * (len(values) - len(known))


def test_a_row_of_the_table_says_what_the_records_say(client: TestClient, opened: OpenedStore) -> None:
    for row in answered(client, "/api/images", epsilon=0.1, step=2, limit=500)["rows"]:
        key = {name: row[name] for name in ("run", "image", "step_size", "epsilon")}
        one = answered(client, "/api/image", **key)
        assert one["misclassified"][2] == row["success"]
        assert one["classes"][one["predicted"][2]] == row["predicted"]
        stored = opened.run(row["run"]).column("logits")[opened.row(*key.values())]
        np.testing.assert_array_equal(np.array(one["logits"], np.float32), stored)
        np.testing.assert_allclose(one["probabilities"], probabilities(stored))
        assert max(one["probabilities"][0]) == pytest.approx(row["clean_confidence"])
        fallen = [step for step, fell in enumerate(one["misclassified"]) if fell and step <= 2]
        assert row["iterations"] == (fallen[0] if fallen else None)


def test_pixels_come_only_after_their_proof_and_are_those_of_the_cohort(
    client: TestClient, opened: OpenedStore
) -> None:
    row = answered(client, "/api/images", arm="A", limit=1, offset=3)["rows"][0]
    key = {name: row[name] for name in ("run", "image", "step_size", "epsilon")}
    assert client.get("/api/pixels", params=key | {"step": 0}).status_code == 409
    while (found := answered(client, "/api/trajectory", **key))["state"] != "done":
        time.sleep(0.05)
    assert found["proof"]["status"] == "exact"
    clean = client.get("/api/pixels", params=key | {"step": 0})
    shape = tuple(map(int, clean.headers["X-Shape"].split(",")))
    wanted = open_cohort(opened.store.cohort("X-AGE")).images([row["image"]])[0]
    np.testing.assert_array_equal(np.frombuffer(clean.content, "<f4").reshape(shape), wanted)
    assert client.get("/api/pixels", params=key | {"step": 5}).status_code == 404


def test_a_saved_image_is_of_the_stored_depth_and_says_what_it_is(client: TestClient, opened: OpenedStore) -> None:
    example = next(one for one in read_gallery(opened.store.gallery) if one.epsilon > 0)
    key = {name: getattr(example, name) for name in ("step_size", "epsilon")}
    key |= {"run": example.run_id, "image": example.image_id}
    assert client.get("/api/png", params=key | {"step": 4, "what": "attacked"}).status_code == 409  # not proved yet
    while answered(client, "/api/trajectory", **key)["state"] != "done":
        time.sleep(0.05)
    saved = client.get("/api/png", params=key | {"step": 4, "what": "attacked"})
    assert saved.headers["Content-Disposition"].startswith("attachment")
    pixels = decode_png(saved.content)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, read_image(opened.store.gallery, example.adversarial_file))
    about = Image.open(io.BytesIO(saved.content)).text["Description"]
    assert example.image_id in about
    assert "bit for bit" in about
    assert opened.run(example.run_id).header.weights_sha256 in about
    change = decode_png(client.get("/api/png", params=key | {"step": 0, "what": "difference"}).content)
    assert np.unique(change).tolist() == [128]  # the clean image beside itself
    assert client.get("/api/png", params=key | {"step": 4, "what": "../x"}).status_code == 422


def test_what_is_not_in_the_store_is_refused_and_becomes_no_path(client: TestClient, finished: Path) -> None:
    key = {"run": "x", "image": "y", "step_size": "0.01", "epsilon": 0.1}
    for hostile in ("../../etc/passwd", "..", "/etc/passwd", "a\x00b", "%2e%2e/", "<script>", "C:\\x"):
        for name in ("run", "image", "step_size"):
            assert client.get("/api/image", params=key | {name: hostile}).status_code == 404
            assert client.get("/api/trajectory", params=key | {name: hostile}).status_code == 404
        assert client.get("/api/figure", params={"key": hostile}).status_code == 400
    for path in (
        "/static/../web_app.py",
        "/static/..%2fweb_app.py",
        "/static/%2e%2e%2f%2e%2e%2fserver.py",
        "/study.yaml",
    ):
        assert client.get(path).status_code == 404
    for wrong in (
        {"epsilon": "nan"},
        {"epsilon": -1},
        {"limit": 0},
        {"limit": 10**9},
        {"sort": "run; drop"},
        {"step": -1},
    ):
        assert client.get("/api/images", params=wrong).status_code in (400, 422)
    assert str(finished) not in client.get("/api/store").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_get_no_answer(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.get("/api/store", headers=headers)
    assert answer.status_code == 403
    assert "looked" not in answer.text.lower()


def test_nothing_can_be_written_and_every_answer_forbids_what_is_not_its_own(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request(method, "/api/store").status_code == 403
    for path in ("/", "/images", "/image", "/api/store", "/static/image.js", "/nothing"):
        headers = client.get(path).headers
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert "unsafe" not in POLICY


def test_pages_hold_no_inline_script_style_or_handler() -> None:
    for page in STATIC.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "style=" not in text
        assert "<style" not in text
        assert not re.search(r"<[^>]* on[a-z]+=", text)
        assert text.count("<script") == text.count('<script type="module" src="/static/')
    markup = ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write")
    for script in STATIC.glob("*.js"):
        assert not [name for name in markup if name in script.read_text(encoding="utf-8")]


def test_rows_of_one_point_are_made_once(opened: OpenedStore) -> None:
    table = ImageTable(opened)
    assert table.view(At(0.1)) is table.view(At(0.1))
    assert table.view(At(0.3)).is_empty()  # no run holds it
    assert table.page(At(0.3), Filters())["total"] == 0


def test_a_change_of_the_store_is_said(copied: Path) -> None:
    opened = OpenedStore(copied)
    with TestClient(web_app(opened, frozenset({"testserver"}))) as client:
        assert answered(client, "/api/store")["changed"] is False
        header = next((copied / "records").glob("*/header.json"))
        header.write_text(header.read_text() + " ")
        assert answered(client, "/api/store")["changed"] is True


def test_an_unforeseen_error_is_an_answer_without_its_text(
    opened: OpenedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("patient 17")

    monkeypatch.setattr(ImageTable, "page", broken)
    with TestClient(web_app(opened, frozenset({"testserver"}))) as client:
        answer = client.get("/api/images")
    assert answer.status_code == 500
    assert answer.json() == {"error": "This could not be answered (RuntimeError)."}
    assert answer.headers["Content-Security-Policy"] == POLICY


def test_with_a_token_nothing_is_answered_without_it(opened: OpenedStore) -> None:
    app = web_app(opened, frozenset({"testserver"}), token="secret-word")
    with TestClient(app, follow_redirects=False) as client:
        for path in ("/", "/api/store", "/static/image.js", "/?token=secret-wor", "/?token="):
            assert client.get(path).status_code == 401
        assert client.get("/", headers={"Cookie": "advassay_viewer=other; x"}).status_code == 401
        assert client.get("/", headers={"Host": "attacker.example"}).status_code == 403
        onward = client.get("http://testserver//attacker.example/?token=secret-word&cohort=A%26B")
        assert onward.status_code == 303
        assert onward.headers["Location"] == "/attacker.example/?cohort=A%26B"  # this host, without the token
        cookie = onward.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/api/store").status_code == 200  # the client keeps the cookie, as browsers do


def test_a_dicom_file_is_derived_without_a_person_and_holds_the_levels(client: TestClient, opened: OpenedStore) -> None:
    pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom (pip install 'advassay[dicom]')")
    row = answered(client, "/api/images", arm="A", limit=1)["rows"][0]
    key = {name: row[name] for name in ("run", "image", "step_size", "epsilon")}
    assert client.get("/api/dicom", params=key | {"step": 9, "what": "attacked"}).status_code in (404, 409)
    while answered(client, "/api/trajectory", **key)["state"] != "done":
        time.sleep(0.05)
    files = {}
    at = {"step": 4}
    for name, asked in (
        ("attacked", at | {"what": "attacked"}),
        ("clean", at | {"what": "clean"}),
        ("again", at | {"what": "attacked"}),
        ("earlier", {"step": 3, "what": "attacked"}),
    ):
        saved = client.get("/api/dicom", params=key | asked)
        assert saved.headers["Content-Type"] == "application/dicom"
        assert re.search(r'filename="[A-Za-z0-9_.-]+\.dcm"', saved.headers["Content-Disposition"])
        files[name] = pydicom.dcmread(io.BytesIO(saved.content))
    ds = files["attacked"]
    png = decode_png(client.get("/api/png", params=key | {"step": 4, "what": "attacked"}).content)
    np.testing.assert_array_equal(ds.pixel_array, png)
    assert (ds.BitsStored, ds.pixel_array.dtype, list(ds.ImageType)) == (16, np.uint16, ["DERIVED", "SECONDARY"])
    assert ds.SOPInstanceUID == files["again"].SOPInstanceUID  # the same iterate is the same object
    assert len({files[name].SOPInstanceUID for name in ("attacked", "clean", "earlier")}) == 3
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    for part in (row["image"], row["run"], "arm A", f"ε = {row['epsilon']:g}", "iterate 4 of 4", "bit for bit",
                 opened.run(row["run"]).header.weights_sha256):  # fmt: skip
        assert part in ds.DerivationDescription
    assert "arm A" not in files["clean"].DerivationDescription.partition("Cohort")[0]
    people = [element for element in ds if element.tag.group == 0x0010 and element.value]
    assert people == []
    assert ds.PatientIdentityRemoved == "YES"
    patient = opened.run(row["run"]).images.filter(image_id=row["image"])["patient_id"][0]
    assert patient not in str(ds)
    assert client.get("/api/dicom", params=key | {"step": 4, "what": "difference"}).status_code == 422


def marks(part: Any) -> Iterator[dict[str, Any]]:
    """The data of a specification, from inline values wherever they stand."""
    if isinstance(part, dict):
        values = part.get("values")
        yield from (one for one in values or [] if isinstance(one, dict)) if isinstance(values, list) else ()
        for inner in part.values():
            yield from marks(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from marks(inner)


def listed(links: dict[str, Any], datum: dict[str, Any]) -> dict[str, Any] | None:
    """As overview.js makes a query of a mark."""
    if any(datum.get(entry) is None for entry in links["fields"]):
        return None
    if any(str(datum.get(entry)) not in texts for entry, texts in links["labels"].items()):
        return None
    query = links["base"] | {name: datum[entry] for entry, name in links["fields"].items()}
    for entry, texts in links["labels"].items():
        query |= texts[str(datum[entry])]
    return query


def test_a_mark_of_a_figure_lists_the_images_that_it_counts(client: TestClient) -> None:
    figures = {one["key"]: one["links"] for one in ready(client)["figures"]}
    followed = Counter[str]()
    for key, links in figures.items():
        if links is None:
            continue
        seen = set()
        for datum in marks(answered(client, "/api/figure", key=key)):
            query = listed(links, datum)
            if query is None or str(query) in seen:
                continue
            seen.add(str(query))
            counted = {"fig-transitions": "n", "fig-epsilon50": "n"}.get(key, "events")
            found = answered(client, "/api/images", **query, limit=1)["total"]
            assert found == datum[counted], (key, datum, query)
            followed[key] += 1
    assert {"fig-3a", "fig-3b", "fig-surface", "fig-arms", "fig-accuracy", "fig-transitions"} <= set(followed)
    unlinked = {key for key, links in figures.items() if links is None}
    assert unlinked <= {"fig-specification", "fig-flow", "fig-visibility", "fig-reliability", "fig-confidence-flow",
                        "fig-training"}  # fmt: skip


def test_the_same_image_of_another_store_is_offered_and_proved_on_its_own(opened: OpenedStore, copied: Path) -> None:
    for path in (copied / "classifiers").glob("*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")  # nothing of this store can be proved
    other = OpenedStore(copied)
    with TestClient(web_app(opened, frozenset({"testserver"}), other=other)) as client:
        row = answered(client, "/api/images", arm="A", limit=1)["rows"][0]
        key = {name: row[name] for name in ("run", "image", "step_size", "epsilon")}
        beside = [one for one in answered(client, "/api/image", **key)["other_runs"] if one.get("store")]
        assert {one["arm"] for one in beside} == {"A", "C"}
        assert beside[0]["title"] == other.title
        assert answered(client, "/api/image", **key, store="other")["store"] == "other"
        for store, status in (("", "exact"), ("other", "refused")):
            while (found := answered(client, "/api/trajectory", **key, store=store))["state"] != "done":
                time.sleep(0.05)
            assert found["proof"]["status"] == status
        pixels = {store: client.get("/api/pixels", params=key | {"step": 1, "store": store}) for store in ("", "other")}
        assert (pixels[""].status_code, pixels["other"].status_code) == (200, 409)
    with TestClient(web_app(opened, frozenset({"testserver"}))) as client:
        assert client.get("/api/image", params=key | {"store": "other"}).status_code == 404
        assert client.get("/api/image", params=key | {"store": "../x"}).status_code == 422
