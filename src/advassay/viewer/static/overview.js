// @ts-check
// The first page: what the report found, and the way from each number to the images behind it.
import { amplitude, byId, element, fill, nameStore, notice, percent, say, shortest } from "./shared.js";
import { ask, keepAddress, search } from "./source.js";
import { draw, narrow } from "./charts.js";

const controls = /** @type {any} */ (byId("surface-controls"));
/** @type {any} */
let choices;
/** @type {any} */
let found;
let drawing = 0;

const chosen = () => ({
  cohort: controls.cohort.value, arm: controls.arm.value, step_size: controls.step_size.value, reading: controls.reading.value,
});

/** The main network's run that the controls name. */
function run() {
  const { cohort, arm } = chosen();
  return choices.runs.find((/** @type {any} */ one) => one.primary && one.cohort === cohort && one.arm === arm);
}

/**
 * Address of the images that were misclassified at a point.
 * @param {number} epsilon
 * @param {number} step
 */
function behind(epsilon, step) {
  const { cohort, arm, step_size, reading } = chosen();
  const query = { cohort, arm, step_size, network: "main", epsilon, step, reading: reading === "last" ? "" : reading, success: true };
  return `/images${search(query)}`;
}

/**
 * Offer what the chosen cohort and arm have.
 * @param {URLSearchParams} [wanted]
 */
function offer(wanted) {
  const of = (/** @type {string} */ name) => wanted?.get(name) ?? controls[name].value;
  const arms = choices.arms.filter((/** @type {string} */ arm) =>
    choices.runs.some((/** @type {any} */ one) => one.primary && one.cohort === controls.cohort.value && one.arm === arm));
  fill(controls.arm, arms, of("arm") || found.main_arm);
  const sizes = Object.keys(run()?.points ?? {});
  fill(controls.step_size, sizes, sizes.includes(of("step_size")) ? of("step_size") : found.step_sizes[controls.arm.value]);
}

async function surface() {
  const mine = ++drawing;
  const { cohort, arm, step_size, reading } = chosen();
  keepAddress(chosen());
  byId("surface-chart").classList.add("busy");
  const made = await ask("/api/surface", { cohort, arm, step_size, success: reading, narrow: narrow.matches });
  if (mine !== drawing) return; // the controls have moved on
  const own = reading === found.success && step_size === found.step_sizes[arm];
  byId("surface-about").textContent = own
    ? "The numbers of the report: its reading of success and its step size."
    : "Another reading or step size than the report’s, computed by the same function.";
  /** @type {number[]} */
  const epsilons = run().points[step_size];
  await draw(byId("surface-chart"), made.spec, `Attack success rate of ${cohort} over ε and iterations, arm ${arm}`, (datum) => {
    const near = parseFloat(datum.row);
    if (Number.isNaN(near)) return;
    const epsilon = epsilons.reduce((a, b) => (Math.abs(b - near) < Math.abs(a - near) ? b : a));
    location.href = behind(epsilon, datum.step);
  });
  const last = Math.max(...made.rows.map((/** @type {any} */ row) => row.step));
  const rows = made.rows.filter((/** @type {any} */ row) => row.step === last);
  byId("surface-numbers").replaceChildren(
    element("thead", {}, element("tr", {}, ...["ε (of 255)", "success rate", "interval", "misclassified", "of"].map((text, i) =>
      element("th", { scope: "col", class: i ? "n" : null }, text)))),
    element("tbody", {}, ...rows.map((/** @type {any} */ row) => element("tr", {},
      element("th", { scope: "row" }, amplitude(row.epsilon)),
      element("td", { class: "n" }, percent(row.rate)),
      element("td", { class: "n" }, `${percent(row.low)} to ${percent(row.high)}`),
      element("td", { class: "n" }, element("a", { href: behind(row.epsilon, last), "aria-label": `${row.events} images misclassified at ε ${shortest(row.epsilon)}` }, row.events)),
      element("td", { class: "n" }, row.n)))),
  );
}

/**
 * The filters that list what a mark counts; null where it leads nowhere.
 * @param {{base: object, fields: Record<string, string>, labels: Record<string, Record<string, object>>}} links @param {any} datum
 */
function listOf(links, datum) {
  /** @type {Record<string, any>} */
  const query = { ...links.base };
  for (const [entry, name] of Object.entries(links.fields)) {
    if (datum[entry] === undefined || datum[entry] === null) return null;
    query[name] = datum[entry];
  }
  for (const [entry, texts] of Object.entries(links.labels)) {
    if (!Object.hasOwn(texts, datum[entry])) return null;
    Object.assign(query, texts[datum[entry]]);
  }
  if (query.reading === "last") delete query.reading; // as the table has it without
  return query;
}

/**
 * Figures are drawn once they are scrolled into view.
 * @param {any[]} figures
 */
function list(figures) {
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      seen.unobserve(entry.target);
      const card = /** @type {HTMLElement} */ (entry.target);
      const one = figures.find((figure) => figure.key === card.dataset.key);
      ask("/api/figure", { key: one.key, narrow: narrow.matches }).then((spec) => draw(card, spec, one.description, one.links && ((datum) => {
        const query = listOf(one.links, datum);
        if (query) location.href = `/images${search(query)}`;
      }))).catch(say);
    }
  }, { rootMargin: "200px" });
  byId("figure-list").replaceChildren(...figures.map((one) => {
    const card = element("div", { class: "card", "data-key": one.key });
    seen.observe(card);
    return element("figure", { id: one.key, class: one.links ? "links" : null }, card, element("figcaption", {}, element("strong", {}, `Figure ${one.number}. ${one.title}. `), one.caption, one.links ? " A click on a mark lists the images it counts." : ""));
  }));
}

function show() {
  byId("summary").textContent = found.summary;
  byId("answer").replaceChildren(...found.first_screen.map((/** @type {string} */ text) => element("p", {}, text)));
  const notices = byId("notices");
  notices.hidden = !found.notices.length;
  notices.querySelector("ul").replaceChildren(...found.notices.map((/** @type {string} */ text) => element("li", {}, text)));
  byId("verdicts").hidden = !found.verdicts.length;
  byId("verdicts").querySelector("ul").replaceChildren(...found.verdicts.map((/** @type {any} */ one) =>
    element("li", { class: ["supported", "contradicted"].includes(one.verdict) ? one.verdict : "undecided" },
      `${one.number}. ${one.title} – `, element("span", { class: "badge" }, one.verdict), element("br"), one.headline)));
  for (const id of ["surface", "figures"]) byId(id).hidden = false;
  list(found.figures);
}

async function begin() {
  const store = await nameStore("Overview");
  byId("title").textContent = store.title;
  for (const text of store.warnings) notice(text);
  choices = await ask("/api/choices");
  for (;;) {
    found = await ask("/api/findings");
    if (found.state !== "computing") break;
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
  if (found.state === "failed") {
    byId("summary").textContent = `The report’s numbers cannot be computed: ${found.reason}`;
    return;
  }
  const wanted = new URLSearchParams(location.search);
  fill(controls.cohort, choices.cohorts, wanted.get("cohort"));
  controls.reading.value = wanted.get("reading") === "any" || wanted.get("reading") === "last" ? wanted.get("reading") : found.success;
  show();
  offer(wanted);
  controls.addEventListener("change", () => { offer(); surface().catch(say); });
  controls.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  narrow.addEventListener("change", () => { surface().catch(say); list(found.figures); });
  await surface();
}

begin().catch(say);
