// @ts-check
// One image: clean, attacked and their difference, with the proof that they are the record's.
import { amplitude, byId, element, fill, nameStore, percent, say, shortest } from "./shared.js";
import { at, magnified, paint, quantiles, subtract, under, windowed } from "./raster.js";
import { lines, sample } from "./plots.js";
import { ask, fileAddress, keepAddress, pixelsOf, search } from "./source.js";

/** @typedef {import("./raster.js").Raster} Raster */

const KEPT = 64; // iterates in memory
const FACTORS = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const canvases = /** @type {HTMLCanvasElement[]} */ (["clean", "attacked", "difference", "with-attacked", "with-difference"].map(byId));
const sliders = { epsilon: byId("epsilon"), step: byId("step") };
const query = new URLSearchParams(location.search);
const point = { run: query.get("run") ?? "", image: query.get("image") ?? "", step_size: query.get("step_size") ?? "", epsilon: Number(query.get("epsilon")), step: query.get("step") };
/** @type {any} */
let row;
/** @type {Map<string, Promise<Raster>>} */
const kept = new Map();
/** @typedef {{row: any, step: number, clean: Raster, attacked: Raster, change: Raster}} Shown pixels and the record that they are of */
/** @type {Shown | null} */
let shown = null;
/** @type {{store: string, run: string, step_size: string} | null} what the image is compared with; store: "" for this one */
let other = query.get("with") ? { store: query.get("with_store") ?? "", run: query.get("with") ?? "", step_size: query.get("with_step_size") ?? "" } : null;
/** @type {any} the compared row, at its amplitude nearest to the one looked at; null until it is proved */
let compared = null;
/** @type {Shown | null} */
let shownWith = null;
let comparing = 0;
let reading = false;
const grey = { level: 0.5, window: 1, invert: false };
const view = { zoom: 1, x: 0, y: 0 };
/** @type {{x: number, y: number} | null} */
let cursor = null;
let blinking = 0;
let blinkAttacked = false;
let turn = 0;

const key = () => ({ run: point.run, image: point.image, step_size: point.step_size, epsilon: point.epsilon });
const keyOf = (/** @type {any} */ one) => ({ store: one.store, run: one.run, image: one.image, step_size: one.step_size, epsilon: one.epsilon });
/**
 * As the select names what is compared.
 * @param {{store?: string, run: string, step_size: string}} one
 */
const valueOf = (one) => JSON.stringify([one.store ?? "", one.run, one.step_size]);
/**
 * A run that attacked the image.
 * @param {string} run
 * @param {string} [store]
 */
const runOf = (run, store = "") => row.other_runs.find((/** @type {any} */ one) => one.run === run && (one.store ?? "") === store);
const step = () => Number(sliders.step.value);
const top = () => 2 ** row.bits - 1;

// ---- the record ----------------------------------------------------------------------------------------------------

/** Read the row that `point` names, and show what is recorded of it. */
async function read() {
  const mine = ++turn;
  reading = true; // what the sliders say belongs to the row that is awaited
  const found = await ask("/api/image", key()).finally(() => { if (mine === turn) reading = false; });
  if (mine !== turn) return;
  const first = row === undefined;
  row = found;
  point.epsilon = row.epsilon;
  byId("title").textContent = `${row.cohort}, image ${row.image}`;
  document.title = `${row.cohort} ${row.image}`;
  byId("about").textContent = `Class: ${row.classes[row.label]}. ${row.channels === 1 ? "Grey" : "Colour"}, ${row.side} × ${row.side} px, ${row.bits} bit. ${row.architecture}, ${row.network === "main" ? "the cohort’s main network" : row.network}. ${row.attackable ? "Classified correctly without an attack." : "Misclassified without an attack: it does not count in success."}`;
  const own = row.other_runs.filter((/** @type {any} */ one) => !one.store);
  fill(byId("run"), own.map((/** @type {any} */ one) => [one.run, `arm ${one.arm}, ${one.network}`]), row.run);
  fill(byId("step-size"), row.step_sizes, row.step_size);
  fill(byId("with"), [["", "nothing"], ...row.other_runs.flatMap((/** @type {any} */ one) => Object.keys(one.points)
    .filter((size) => one.store || one.run !== row.run || size !== row.step_size)
    .map((size) => /** @type {[string, string]} */ ([valueOf({ ...one, step_size: size }), `${one.store ? `${one.title}: ` : ""}arm ${one.arm}, ${one.network}, step ${size}`])))], other ? valueOf(other) : "");
  if (!byId("with").value) other = null;
  byId("with").parentElement.hidden = byId("with").options.length < 2;
  sliders.epsilon.max = String(row.epsilons.length - 1);
  sliders.epsilon.value = String(row.epsilons.indexOf(row.epsilon));
  sliders.step.max = String(row.steps);
  if (first) {
    const wanted = point.step === null || point.step === "" ? row.steps : Number(point.step);
    sliders.step.value = String(Math.min(Math.max(0, wanted), row.steps));
    Object.assign(view, { zoom: 1, x: row.side / 2, y: row.side / 2 });
    // The largest factor at which ±ε fills the grey scale is the report's.
    fill(byId("factor"), [["auto", "so that ε is half the scale"], ...FACTORS.map((one) => /** @type {[string, string]} */ ([String(one), `× ${one}`]))], "auto");
  }
  record();
  await prove(mine);
  if (mine === turn) await compare(mine);
}

/** Numbers and plots of the iterate that is looked at. */
function record() {
  const k = step();
  byId("epsilon-value").textContent = row.norm === "linf" ? amplitude(row.epsilon) : `${shortest(row.epsilon)} (L2 length)`;
  byId("step-value").textContent = `${k} of ${row.steps}`;
  sliders.epsilon.setAttribute("aria-valuetext", byId("epsilon-value").textContent);
  sliders.step.setAttribute("aria-valuetext", byId("step-value").textContent);
  const named = (/** @type {number} */ c) => (c < 0 ? "none (NaN)" : row.classes[c]);
  const certainty = (/** @type {number} */ i) => `${named(row.predicted[i])}, ${percent(row.probabilities[i][Math.max(0, row.predicted[i])])}`;
  const numbers = [
    ["clean prediction", certainty(0)], [`prediction at iterate ${k}`, certainty(k)],
    ["misclassified by the attack", row.misclassified[k] ? "yes" : "no"],
    ["‖δ‖∞", row.linf[k] === null ? "–" : `${shortest(row.linf[k], 4)} (${shortest(255 * row.linf[k], 3)}/255)`], ["‖δ‖₂", shortest(row.l2[k], 4)],
    ["PSNR", row.psnr[k] === null ? "–" : `${row.psnr[k].toFixed(1)} dB`], [`SSIM at iterate ${row.steps}`, shortest(row.ssim, 4)],
    ["gradient norm", shortest(row.gradient_norm[k], 3)], ["pixels on the ε boundary", percent(row.boundary_share[k])],
    ["judged in float32", row.scored_float32[k] ? "yes" : "no"], ["flags", row.flags.join(", ") || "none"],
  ];
  byId("numbers").replaceChildren(...numbers.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  byId("over-steps").replaceChildren(lines(row.probabilities.map((/** @type {any} */ _, /** @type {number} */ i) => String(i)), row.probabilities, k,
    { axis: "iterations", about: `Probabilities over iterations: ${certainty(0)} at the clean image, ${certainty(row.steps)} at the last iterate` }));
  const grid = row.by_epsilon.filter((/** @type {any} */ one) => one.epsilon > 0);
  byId("over-epsilon").replaceChildren(lines(grid.map((/** @type {any} */ one) => shortest(one.epsilon, 3)), grid.map((/** @type {any} */ one) => one.probabilities),
    grid.findIndex((/** @type {any} */ one) => one.epsilon === row.epsilon), { axis: "ε", about: `Probabilities over ε at the last iterate: ${grid.map((/** @type {any} */ one) => `${shortest(one.epsilon, 3)}: ${named(one.predicted)}`).join(", ")}` }));
  byId("key").replaceChildren(...row.classes.map((/** @type {string} */ name, /** @type {number} */ c) => element("li", {}, sample(c), name, c === row.label ? " (its class)" : "")));
  byId("iterates").replaceChildren(
    element("thead", {}, element("tr", {}, ...["iterate", "prediction", ...row.classes, "‖δ‖∞", "‖δ‖₂", "gradient norm"].map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...row.probabilities.map((/** @type {number[]} */ values, /** @type {number} */ i) => element("tr", {},
      element("th", { scope: "row" }, i), element("td", {}, named(row.predicted[i])), ...values.map((value) => element("td", { class: "n" }, percent(value))),
      element("td", { class: "n" }, shortest(row.linf[i], 4)), element("td", { class: "n" }, shortest(row.l2[i], 4)), element("td", { class: "n" }, shortest(row.gradient_norm[i], 3))))));
  keepAddress({ ...key(), step: k, with: other?.run, with_step_size: other?.step_size, with_store: other?.store });
}

// ---- the proof -----------------------------------------------------------------------------------------------------

const WORDS = { exact: "This record, bit for bit", close: "This record, to a tolerance", refused: "Not this record" };

/**
 * Have the image made again, tell how far that is, and show it once it is proved.
 * @param {number} mine
 */
async function prove(mine) {
  const shown = await proof(() => mine !== turn, "", key(), hide);
  if (mine !== turn) return;
  if (shown) await pixels(mine);
  else hide();
}

/**
 * The same of what it is compared with.
 * @param {number} mine
 */
async function compare(mine) {
  const own = ++comparing;
  const overtaken = () => mine !== turn || own !== comparing;
  hideCompared();
  byId("with-proof").hidden = !other;
  if (!other) return;
  const wanted = { ...key(), ...other, epsilon: nearest(runOf(other.run, other.store), other.step_size) };
  const found = await ask("/api/image", wanted);
  if (overtaken()) return;
  const proved = await proof(overtaken, "with-", keyOf(found), hideCompared);
  if (overtaken() || !proved) return;
  compared = found;
  await pixels(mine);
}

/**
 * Wait until a row is made again, and say how far that is; whether it is proved.
 * @param {() => boolean} overtaken whether something else is looked at by now @param {string} where beginning of the ids of what says so @param {any} wanted @param {() => void} meanwhile
 */
async function proof(overtaken, where, wanted, meanwhile) {
  for (;;) {
    const found = await ask("/api/trajectory", wanted);
    if (overtaken()) return false;
    if (found.state === "done") {
      told(where, found.proof.status, WORDS[/** @type {"exact"} */ (found.proof.status)], found.proof.reason, found.proof.weights_sha256);
      return found.proof.shown;
    }
    meanwhile();
    told(where, "", "Attacked again", found.state === "waiting" ? "Another image comes first." : `${Math.round(found.done)} of at most ${found.expected} gradient steps.`);
    await new Promise((resolve) => setTimeout(resolve, 250));
    if (overtaken()) return false;
  }
}

/**
 * @param {string} where
 * @param {string} status
 * @param {string} word
 * @param {string} text
 * @param {string} [sha256]
 */
function told(where, status, word, text, sha256) {
  byId(`${where}proof`).className = `proof ${status}`;
  byId(`${where}proof-word`).textContent = word;
  byId(`${where}proof-text`).replaceChildren(text, ...(sha256 ? [" Weights: SHA-256 ", element("code", {}, `${sha256.slice(0, 16)}…`)] : []));
}

function hide() {
  shown = null;
  byId("shots").hidden = true;
  byId("display").hidden = true;
}

function hideCompared() {
  compared = null;
  shownWith = null;
  byId("with-shots").hidden = true;
}

/**
 * @param {any} wanted
 * @param {number} k
 * @returns {Promise<Raster>}
 */
function iterate(wanted, k) {
  const name = search({ ...wanted, step: k });
  const found = kept.get(name);
  if (found) return found;
  const asked = pixelsOf({ ...wanted, step: k });
  kept.set(name, asked);
  asked.catch(() => kept.delete(name));
  if (kept.size > KEPT) kept.delete(/** @type {string} */ (kept.keys().next().value));
  return asked;
}

/** @param {number} mine */
async function pixels(mine) {
  const [k, of, beside] = [step(), row, compared];
  const kBeside = beside ? Math.min(k, beside.steps) : 0; // its last one where it has fewer
  const [clean, attacked, secondClean, second] = await Promise.all([
    iterate(keyOf(of), 0), iterate(keyOf(of), k), beside && iterate(keyOf(beside), 0), beside && iterate(keyOf(beside), kBeside),
  ]);
  if (mine !== turn || k !== step() || beside !== compared) return;
  shown = { row: of, step: k, clean, attacked, change: subtract(attacked, clean) };
  shownWith = second && secondClean ? { row: beside, step: kBeside, clean: secondClean, attacked: second, change: subtract(second, secondClean) } : null;
  byId("with-shots").hidden = !shownWith;
  byId("shots").hidden = false;
  byId("display").hidden = false;
  repaint();
}

// ---- the display ---------------------------------------------------------------------------------------------------

/**
 * The factor at which ±ε fills the grey scale, rounded down to two digits, as in the report.
 * @param {number} epsilon
 */
function automatic(epsilon) {
  const exact = 0.5 / epsilon;
  const unit = 10 ** (Math.floor(Math.log10(exact)) - 1);
  return Number((Math.floor(exact / unit + 1e-9) * unit).toPrecision(12));
}

function factor() {
  const chosen = byId("factor").value;
  if (chosen !== "auto") return Number(chosen);
  const of = shown?.row ?? row;
  return automatic(of.norm === "linf" ? of.epsilon : Math.max(1e-9, shown?.change.values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) ?? 1));
}

/**
 * What the network said, of pixels that are shown.
 * @param {Shown} of
 * @param {number} k
 */
function saidOf(of, k) {
  const decision = of.row.predicted[k];
  return decision < 0 ? "no decision" : `${of.row.classes[decision]} ${percent(of.row.probabilities[k][decision])}`;
}

function repaint() {
  if (!shown) return;
  const { row: of, step: k, clean: { width } } = shown; // the captions are of the pixels, whatever is awaited
  byId("clean-caption").textContent = `Clean: ${saidOf(shown, 0)}`;
  byId("attacked-caption").textContent = blinking ? `Blinking: ${blinkAttacked ? "attacked" : "clean"}` : `Attacked, iterate ${k}: ${saidOf(shown, k)}`;
  byId("difference-caption").textContent = `Difference × ${shortest(factor(), 3)}; grey: unchanged, brighter: made brighter`;
  const middle = blinking && !blinkAttacked ? shown.clean : shown.attacked;
  const maps = [windowed(shown.clean, grey), windowed(middle, grey), magnified(shown.change, factor())];
  for (const link of document.querySelectorAll("#save a")) {
    const [kind, what] = /** @type {string[]} */ (/** @type {HTMLElement} */ (link).dataset.save?.split(" "));
    const to = fileAddress(kind, { ...keyOf(of), step: k, what });
    byId("save").hidden = to === null;
    if (to !== null) link.setAttribute("href", to);
  }
  if (shownWith) {
    byId("with-attacked-caption").textContent = `${shownWith.row.store ? "Other store, arm" : "Arm"} ${shownWith.row.arm}, ε ${shortest(shownWith.row.epsilon)}, iterate ${shownWith.step}: ${saidOf(shownWith, shownWith.step)}`;
    byId("with-difference-caption").textContent = `Its difference × ${shortest(factor(), 3)}`;
    maps.push(windowed(shownWith.attacked, grey), magnified(shownWith.change, factor()));
  }
  maps.forEach((map, i) => {
    const ratio = map.width / width; // another store may have prepared the image at another size
    const there = cursor && ratio !== 1 ? null : cursor;
    paint(canvases[i], map, { zoom: view.zoom, x: view.x * ratio, y: view.y * ratio }, there);
  });
  byId("level").value = String(grey.level);
  byId("window").value = String(grey.window);
  byId("invert").setAttribute("aria-pressed", String(grey.invert));
  byId("zoom").value = String(view.zoom);
  readout();
}

function readout() {
  if (!shown || !cursor) return;
  const { x, y } = cursor;
  const tenth = (/** @type {number} */ value) => (Math.round(value * top() * 10) / 10).toString();
  const levels = (/** @type {Raster} */ image) => at(image, x, y).map((value) => tenth(value)).join(", ");
  byId("readout").textContent = `Pixel (${x}, ${y}), in levels of ${top()}: clean ${levels(shown.clean)}; attacked ${levels(shown.attacked)}; change ${levels(shown.change)}${shownWith && shownWith.clean.width === shown.clean.width ? `; compared ${levels(shownWith.attacked)}` : ""}. Window ${Math.round(grey.window * top())}, level ${Math.round(grey.level * top())}.`;
}

/** @param {number} zoom */
function zoomTo(zoom) {
  view.zoom = Math.min(Math.max(zoom, 1), 16);
  const half = row.side / 2 / view.zoom;
  view.x = Math.min(Math.max(view.x, half), row.side - half);
  view.y = Math.min(Math.max(view.y, half), row.side - half);
  repaint();
}

function preset() {
  const kind = byId("preset").value;
  if (!shown) return;
  const [low, high] = kind === "full" ? [0, 1] : quantiles(shown.clean, kind === "range" ? [0, 1] : [0.01, 0.99]);
  grey.level = (low + high) / 2;
  grey.window = Math.max(high - low, 0.002);
  repaint();
}

function blink() {
  clearInterval(blinking);
  blinking = blinking ? 0 : window.setInterval(() => { blinkAttacked = !blinkAttacked; repaint(); }, 500);
  blinkAttacked = false;
  byId("blink").setAttribute("aria-pressed", String(Boolean(blinking)));
  repaint();
}

function reset() {
  Object.assign(grey, { level: 0.5, window: 1, invert: false });
  Object.assign(view, { zoom: 1, x: row.side / 2, y: row.side / 2 });
  byId("preset").value = "full";
  byId("factor").value = "auto";
  cursor = null;
  byId("readout").textContent = "Point at an image to read its values.";
  if (blinking) blink();
  repaint();
}

/**
 * @param {HTMLInputElement} slider
 * @param {number} by
 */
function move(slider, by) {
  const to = Math.min(Math.max(Number(slider.value) + by, 0), Number(slider.max));
  if (to === Number(slider.value)) return;
  slider.value = String(to);
  slider.dispatchEvent(new Event("input"));
}

for (const canvas of canvases) {
  /** @type {{x: number, y: number} | null} */
  let from = null;
  canvas.addEventListener("pointerdown", (event) => { from = { x: event.clientX, y: event.clientY }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { from = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!shown) return;
    cursor = under(canvas, shown.clean, view, event) ?? cursor;
    if (from) {
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      from = { x: event.clientX, y: event.clientY };
      if (event.shiftKey) {
        const scale = (canvas.clientWidth / row.side) * view.zoom;
        view.x -= dx / scale;
        view.y -= dy / scale;
        zoomTo(view.zoom);
      } else {
        grey.window = Math.min(Math.max(grey.window + dx / canvas.clientWidth, 0.002), 1);
        grey.level = Math.min(Math.max(grey.level + dy / canvas.clientWidth, 0), 1);
      }
    }
    requestAnimationFrame(repaint);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!shown) return;
    event.preventDefault();
    const here = under(canvas, shown.clean, view, event);
    if (here && event.deltaY < 0) Object.assign(view, here);
    zoomTo(view.zoom * (event.deltaY < 0 ? 2 : 0.5));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by || !shown) return;
    event.preventDefault();
    const middle = Math.floor(row.side / 2);
    const now = cursor ?? { x: middle, y: middle };
    const inside = (/** @type {number} */ value) => Math.min(Math.max(value, 0), row.side - 1);
    cursor = { x: inside(now.x + by[0]), y: inside(now.y + by[1]) };
    repaint();
  });
}

/** @type {Record<string, () => void>} */
const KEYS = {
  ",": () => move(sliders.step, -1), ".": () => move(sliders.step, 1), "[": () => move(sliders.epsilon, -1), "]": () => move(sliders.epsilon, 1),
  b: blink, i: () => { grey.invert = !grey.invert; repaint(); }, "+": () => zoomTo(view.zoom * 2), "=": () => zoomTo(view.zoom * 2), "-": () => zoomTo(view.zoom / 2), 0: reset,
};
document.addEventListener("keydown", (event) => {
  const within = /** @type {HTMLElement} */ (event.target).tagName;
  if (event.ctrlKey || event.metaKey || event.altKey || !row || within === "SELECT") return;
  KEYS[event.key.toLowerCase()]?.();
});

sliders.step.addEventListener("input", () => { if (!row || reading) return; record(); if (shown) pixels(turn).catch(say); });
sliders.epsilon.addEventListener("input", () => { point.epsilon = row.epsilons[Number(sliders.epsilon.value)]; read().catch(say); });
byId("run").addEventListener("change", () => {
  const { run, points } = runOf(byId("run").value);
  go(run, point.step_size in points ? point.step_size : Object.keys(points)[0]).catch(say);
});
byId("step-size").addEventListener("change", () => go(point.run, byId("step-size").value).catch(say));
byId("with").addEventListener("change", () => {
  const value = byId("with").value;
  if (!value) other = null;
  else {
    const [store, run, step_size] = JSON.parse(value);
    other = { store, run, step_size };
  }
  record();
  compare(turn).catch(say);
});
byId("level").addEventListener("input", () => { grey.level = Number(byId("level").value); repaint(); });
byId("window").addEventListener("input", () => { grey.window = Number(byId("window").value); repaint(); });
byId("preset").addEventListener("change", preset);
byId("factor").addEventListener("change", repaint);
byId("zoom").addEventListener("change", () => zoomTo(Number(byId("zoom").value)));
byId("invert").addEventListener("click", () => KEYS.i());
byId("blink").addEventListener("click", blink);
byId("reset").addEventListener("click", reset);
window.addEventListener("resize", repaint);

/**
 * Another run of the same image, at its amplitude nearest to the one looked at.
 * @param {string} run
 * @param {string} size
 */
async function go(run, size) {
  Object.assign(point, { epsilon: nearest(runOf(run), size), run, step_size: size });
  hide();
  await read();
}

/**
 * Of a run's amplitudes the one nearest to the one looked at.
 * @param {{points: Record<string, number[]>}} run
 * @param {string} size
 * @returns {number}
 */
function nearest(run, size) {
  return run.points[size].reduce((a, b) => (Math.abs(b - point.epsilon) < Math.abs(a - point.epsilon) ? b : a));
}

async function begin() {
  byId("save-dicom").hidden = !(await nameStore("Image")).dicom;
  if (!point.run) throw new Error("No image is chosen: take one from the table of images.");
  await read();
}

begin().catch(say);
