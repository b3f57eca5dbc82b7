// @ts-check
// The table of all attacked images: filters, order and the rows that are in view. The address holds the state.
import { byId, element, fill, nameStore, percent, say, shortest } from "./shared.js";
import { ask, search } from "./source.js";

const HEIGHT = 31; // of a row with its line, in CSS pixels
const PAGE = 100;
const KEPT = 30; // pages of rows in memory
const form = /** @type {any} */ (byId("form"));
const list = byId("list");
const SELECTS = ["cohort", "arm", "step_size", "network", "epsilon", "step", "label", "clean_predicted", "predicted", "flag"];
/** @type {[key: string, text: string, show: (row: any) => Node | string, numeric?: boolean][]} */
const COLUMNS = [
  ["image", "Image", (row) => element("a", { href: address(row) }, row.image)],
  ["cohort", "Cohort", (row) => row.cohort],
  ["arm", "Arm", (row) => row.arm],
  ["step_size", "Step size", (row) => row.step_size],
  ["network", "Network", (row) => row.network],
  ["label", "Class", (row) => row.label],
  ["clean_predicted", "Clean prediction", (row) => row.clean_predicted ?? "none (NaN)"],
  ["clean_confidence", "Clean confidence", (row) => percent(row.clean_confidence), true],
  ["smallest_epsilon", "Smallest ε", (row) => shortest(row.smallest_epsilon), true],
  ["epsilon", "At ε", (row) => shortest(row.epsilon), true],
  ["predicted", "Prediction there", (row) => element("span", { class: row.success ? "hit" : null }, row.predicted ?? "none (NaN)")],
  ["success", "Misclassified", (row) => (row.success ? "yes" : row.attackable ? "no" : "wrong already")],
  ["iterations", "Iterations", (row) => shortest(row.iterations), true],
  ["lost_again", "Lost again", (row) => (row.lost_again ? "yes" : "no")],
  ["flags", "Flags", (row) => row.flags.join(", ")],
];
/** @type {any} */
let choices;
/** @type {Map<number, any[]>} */
let pages = new Map();
/** @type {Set<number>} */
let asked = new Set();
let total = 0;
let stop = new AbortController();
let sort = { key: "cohort", descending: false };

/**
 * Address of one image; the point is the row's.
 * @param {any} row
 */
function address(row) {
  return `/image${search({ run: row.run, image: row.image, step_size: row.step_size, epsilon: row.epsilon, step: row.step })}`;
}

/**
 * What the form says, as the address has it.
 * @returns {Record<string, string>}
 */
function state() {
  const entries = [...new FormData(form).entries()].map(([name, value]) => [name, String(value).trim()]);
  const sorted = sort.key === "cohort" && !sort.descending ? {} : { sort: sort.key, descending: sort.descending ? "true" : "" };
  return { ...Object.fromEntries(entries), ...sorted };
}

/** The values of a filter that the chosen cohort, arm … have. */
function offer() {
  const now = state();
  const runs = choices.runs.filter((/** @type {any} */ run) =>
    (!now.cohort || run.cohort === now.cohort) && (!now.arm || run.arm === now.arm));
  const unique = (/** @type {any[]} */ values) => [...new Set(values)];
  const any = (/** @type {string} */ text, /** @type {any[]} */ values) => [["", text], ...values.map(String).map((one) => [one, one])];
  const classes = unique(runs.flatMap((/** @type {any} */ run) => run.classes));
  const sizes = unique(runs.flatMap((/** @type {any} */ run) => Object.keys(run.points)));
  const epsilons = unique(runs.flatMap((/** @type {any} */ run) => Object.entries(run.points)
    .filter(([name]) => !now.step_size || name === now.step_size).flatMap(([, grid]) => grid))).sort((a, b) => a - b);
  const steps = Math.max(0, ...runs.map((/** @type {any} */ run) => run.steps));
  const options = {
    cohort: any("any", choices.cohorts), arm: any("any", choices.arms), step_size: any("any", sizes),
    network: any("any", unique(choices.runs.map((/** @type {any} */ run) => run.network))),
    epsilon: any("largest of each run", epsilons), step: any("last", Array.from({ length: steps }, (_, i) => i + 1)),
    label: any("any", classes), clean_predicted: any("any", classes), predicted: any("any", classes), flag: any("any", choices.flags),
  };
  for (const name of SELECTS) fill(form.elements[name], /** @type {any} */ (options)[name], now[name] ?? "");
}

/** Take the state from the address. */
function fromAddress() {
  const query = new URLSearchParams(location.search);
  form.reset();
  offer();
  for (const name of [...SELECTS, ...SELECTS]) { // cohort and arm decide what the others offer
    const control = form.elements[name];
    const value = query.get(name) ?? "";
    if (value && ![...control.options].some((/** @type {any} */ one) => one.value === value)) control.append(element("option", { value }, value));
    control.value = value;
  }
  for (const control of form.elements) {
    if (control.name && !SELECTS.includes(control.name)) control.value = query.get(control.name) ?? "";
  }
  sort = { key: query.get("sort") ?? "cohort", descending: query.get("descending") === "true" };
}

/** @param {boolean} [push] */
function changed(push = true) {
  if (push) history.pushState(null, "", search(state()) || location.pathname);
  heads();
  stop.abort();
  stop = new AbortController();
  pages = new Map();
  asked = new Set();
  total = 0;
  list.scrollTop = 0;
  load(0).catch(say);
}

/** @param {number} page */
async function load(page) {
  if (pages.has(page) || asked.has(page)) return;
  const [mine, here] = [stop.signal, asked]; // of this state of the filters
  here.add(page);
  try {
    const found = await ask("/api/images", { sort: "cohort", ...state(), offset: page * PAGE, limit: PAGE }, mine);
    if (mine.aborted) return;
    total = found.total;
    pages.set(page, found.rows);
    if (pages.size > KEPT) pages.delete(/** @type {number} */ (pages.keys().next().value));
    byId("count").textContent = `${total.toLocaleString("en")} ${total === 1 ? "row" : "rows"} (image × run × step size)`;
    rows();
  } finally {
    here.delete(page);
  }
}

function heads() {
  byId("heads").replaceChildren(...COLUMNS.map(([key, text, , numeric]) => {
    const here = sort.key === key;
    const order = here ? (sort.descending ? "descending" : "ascending") : null;
    if (key === "flags") return element("th", { scope: "col" }, element("button", { type: "button", disabled: true }, text));
    const button = element("button", { type: "button" }, `${text}${here ? (sort.descending ? " ↓" : " ↑") : ""}`);
    button.addEventListener("click", () => {
      sort = { key, descending: here && !sort.descending };
      changed();
      /** @type {any} */ (byId("heads").querySelectorAll("button")[COLUMNS.findIndex((one) => one[0] === key)])?.focus();
    });
    return element("th", { scope: "col", "aria-sort": order, class: numeric ? "n" : null }, button);
  }));
}

/** The rows in view, between two spacers as high as all others. */
function rows() {
  const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 10);
  const last = Math.min(total, first + Math.ceil(list.clientHeight / HEIGHT) + 20);
  const focused = /** @type {any} */ (document.activeElement)?.closest?.("#rows tr")?.dataset.place;
  const spacer = (/** @type {number} */ n) => {
    const cell = element("td", { colspan: COLUMNS.length });
    cell.style.height = `${n * HEIGHT}px`;
    return element("tr", { class: "spacer", "aria-hidden": "true" }, cell);
  };
  const made = [];
  for (let place = first; place < last; place += 1) {
    const row = pages.get(Math.floor(place / PAGE))?.[place % PAGE];
    if (!row) load(Math.floor(place / PAGE)).catch(say);
    made.push(element("tr", { "data-place": place, "aria-rowindex": place + 2 },
      ...COLUMNS.map(([, , show, numeric]) => element("td", { class: numeric ? "n" : null }, row ? show(row) : "…"))));
  }
  byId("rows").replaceChildren(...(first ? [spacer(first)] : []), ...made, ...(last < total ? [spacer(total - last)] : []));
  list.querySelector("table").setAttribute("aria-rowcount", String(total + 1));
  if (focused !== undefined) focus(Number(focused));
}

/** @param {number} place */
function focus(place) {
  /** @type {any} */ (byId("rows").querySelector(`tr[data-place="${place}"] a`))?.focus({ preventScroll: true });
}

/** @param {number} place */
function go(place) {
  const to = Math.min(Math.max(place, 0), total - 1);
  const head = byId("heads").offsetHeight;
  if (to * HEIGHT < list.scrollTop) list.scrollTop = to * HEIGHT;
  else if ((to + 1) * HEIGHT + head > list.scrollTop + list.clientHeight) list.scrollTop = (to + 1) * HEIGHT + head - list.clientHeight;
  rows();
  focus(to);
}

list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  const row = /** @type {any} */ (event.target).closest("#rows tr");
  const place = row ? Number(row.dataset.place) : -1;
  const to = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0 }[event.key];
  if (to === undefined || (place < 0 && event.key !== "ArrowDown" && event.key !== "Home")) return;
  event.preventDefault();
  go(to);
});
list.addEventListener("scroll", () => requestAnimationFrame(rows));
window.addEventListener("resize", rows);
window.addEventListener("popstate", () => { fromAddress(); changed(false); });
form.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
form.addEventListener("change", () => { offer(); changed(); });
byId("clear").addEventListener("click", () => {
  form.reset();
  for (const name of SELECTS) form.elements[name].value = "";
  sort = { key: "cohort", descending: false };
  offer();
  changed();
});

async function begin() {
  await nameStore("Images");
  choices = await ask("/api/choices");
  byId("groups").replaceChildren(...Object.entries(choices.groups).map(([name, values]) => {
    const select = /** @type {HTMLSelectElement} */ (element("select", { name }));
    fill(select, [["", "any"], .../** @type {string[]} */ (values).map((one) => /** @type {[string, string]} */ ([one, one]))]);
    return element("label", {}, `${name.replace("subgroup_", "")} `, select);
  }));
  if (window.matchMedia("(max-width: 700px)").matches) byId("filters").open = false;
  fromAddress();
  changed(false);
}

begin().catch(say);
