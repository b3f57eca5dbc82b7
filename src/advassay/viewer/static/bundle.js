// @ts-check
// The first page of a bundle: its images and what the proof said of each.
import { amplitude, byId, element, nameStore, say } from "./shared.js";
import { search } from "./source.js";

const PROOFS = { exact: "this record, bit for bit", close: "this record, to a tolerance", refused: "not this record: no pixels" };

async function begin() {
  const { bundle } = await nameStore("Chosen images");
  byId("title").textContent = bundle.title;
  byId("cases").replaceChildren(...bundle.cases.map((/** @type {any} */ one) => element("li", {},
    element("a", { href: `image.html${search(one.key)}` },
      ...one.thumbnails.map((/** @type {string} */ src, /** @type {number} */ i) => element("img", { src, alt: i ? "Attacked" : "Clean" })),
      element("span", {}, `${one.cohort}, image ${one.key.image}`)),
    element("span", {}, `Class ${one.label}: ${one.clean} without an attack, ${one.attacked} at ε ${amplitude(one.key.epsilon)}, arm ${one.arm}.`),
    element("span", { class: "muted" }, `${one.outcome}; ${PROOFS[/** @type {"exact"} */ (one.proof)]}`))));
}

begin().catch(say);
