// @ts-check
// A blind reader study: two images, which one was changed, and what do they show? The server knows; this page does not.
import { byId, element, nameStore, say } from "./shared.js";
import { paint, raster, under, windowed } from "./raster.js";
import { ask, search, send } from "./source.js";

/** @typedef {import("./raster.js").Raster} Raster */

const sides = ["left", "right"];
const canvases = /** @type {HTMLCanvasElement[]} */ (sides.map(byId));
const grey = { level: 0.5, window: 1, invert: false };
const view = { zoom: 1, x: 0, y: 0 };
let reader = "";
/** @type {any} */
let now;
/** @type {Raster[]} */
let images = [];

/** Wait for the next pair, and show it. */
async function next() {
  byId("pair").hidden = true;
  images = [];
  for (;;) {
    now = await ask("/api/reader/next", { reader });
    byId("progress").textContent = `${now.answered} of ${now.of} answered${now.left_out ? `, ${now.left_out} left out` : ""}`;
    if (now.state !== "computing") break;
    byId("state").textContent = "The next pair is being prepared.";
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  if (now.state === "done") {
    byId("state").textContent = "That was the last pair. Thank you.";
    return;
  }
  images = await Promise.all(sides.map(async (side) => {
    const answer = await fetch(`/api/reader/pixels${search({ reader, trial: now.trial, side })}`);
    if (!answer.ok) throw new Error((await answer.json()).error);
    return raster(answer);
  }));
  byId("state").textContent = `${now.cohort}, pair ${now.trial}`;
  byId("answer").reset();
  byId("diagnoses").replaceChildren(...now.classes.map((/** @type {string} */ name) =>
    element("label", {}, element("input", { type: "radio", name: "diagnosis", value: name, required: true }), " ", name)));
  byId("pair").hidden = false;
  reset();
  byId("state").focus(); // neither image stands out
}

function repaint() {
  images.forEach((image, i) => paint(canvases[i], windowed(image, grey), view, null));
  byId("level").value = String(grey.level);
  byId("window").value = String(grey.window);
  byId("zoom").value = String(view.zoom);
  byId("invert").setAttribute("aria-pressed", String(grey.invert));
}

function reset() {
  Object.assign(grey, { level: 0.5, window: 1, invert: false });
  Object.assign(view, { zoom: 1, x: now.side / 2, y: now.side / 2 });
  repaint();
}

/** @param {number} zoom */
function zoomTo(zoom) {
  view.zoom = Math.min(Math.max(zoom, 1), 16);
  const half = now.side / 2 / view.zoom;
  view.x = Math.min(Math.max(view.x, half), now.side - half);
  view.y = Math.min(Math.max(view.y, half), now.side - half);
  repaint();
}

function invert() {
  grey.invert = !grey.invert;
  repaint();
}

for (const canvas of canvases) {
  /** @type {{x: number, y: number} | null} */
  let from = null;
  canvas.addEventListener("pointerdown", (event) => { from = { x: event.clientX, y: event.clientY }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { from = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!from || !images.length) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    from = { x: event.clientX, y: event.clientY };
    if (event.shiftKey) {
      const scale = (canvas.clientWidth / now.side) * view.zoom;
      view.x -= dx / scale;
      view.y -= dy / scale;
      zoomTo(view.zoom);
      return;
    }
    grey.window = Math.min(Math.max(grey.window + dx / canvas.clientWidth, 0.002), 1);
    grey.level = Math.min(Math.max(grey.level + dy / canvas.clientWidth, 0), 1);
    requestAnimationFrame(repaint);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!images.length) return;
    event.preventDefault();
    const here = under(canvas, images[0], view, event);
    if (here && event.deltaY < 0) Object.assign(view, here);
    zoomTo(view.zoom * (event.deltaY < 0 ? 2 : 0.5));
  }, { passive: false });
}

document.addEventListener("keydown", (event) => {
  const within = /** @type {HTMLInputElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || !images.length || within.tagName === "SELECT" || within.name === "reader") return;
  /** @type {Record<string, () => void>} */
  const keys = { i: invert, "+": () => zoomTo(view.zoom * 2), "=": () => zoomTo(view.zoom * 2), "-": () => zoomTo(view.zoom / 2), 0: reset };
  keys[event.key.toLowerCase()]?.();
});
byId("level").addEventListener("input", () => { grey.level = Number(byId("level").value); repaint(); });
byId("window").addEventListener("input", () => { grey.window = Number(byId("window").value); repaint(); });
byId("zoom").addEventListener("change", () => zoomTo(Number(byId("zoom").value)));
byId("invert").addEventListener("click", invert);
byId("reset").addEventListener("click", reset);
window.addEventListener("resize", () => { if (images.length) repaint(); });

byId("begin").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  reader = String(new FormData(byId("begin")).get("reader")).trim();
  next().then(() => { byId("begin").hidden = true; }).catch(say);
});
byId("answer").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const button = /** @type {HTMLButtonElement} */ (byId("answer").querySelector("button"));
  const given = new FormData(byId("answer"));
  button.disabled = true;
  send("/api/reader/answer", { reader, trial: now.trial, changed: given.get("changed"), diagnosis: given.get("diagnosis") })
    .then(next).catch(say).finally(() => { button.disabled = false; });
});

nameStore("Reader study").catch(say);
