// @ts-check
// What a reader study found: right answers by ε, and the ε of visibility beside the network's ε₅₀.
import { amplitude, byId, element, nameStore, percent, say, shortest } from "./shared.js";
import { lines, sample } from "./plots.js";
import { ask } from "./source.js";

/**
 * @param {string[]} heads
 * @param {(string | number)[][]} rows
 */
function table(heads, rows) {
  return [
    element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows.map(([first, ...others]) => element("tr", {}, element("th", { scope: "row" }, first),
      ...others.map((one) => element("td", {}, one))))),
  ];
}

async function begin() {
  await nameStore("Reader study");
  const found = await ask("/api/readers");
  byId("summary").textContent = found.answers
    ? `${found.answers} answers of ${found.readers} ${found.readers === 1 ? "reader" : "readers"}. Intervals of ${100 * found.level} %.`
    : "The store holds no answers. advassay view STORE --reader-study holds a reader study.";
  byId("results").hidden = !found.answers;
  const cohorts = [...new Set(found.rows.map((/** @type {any} */ row) => row.cohort))];
  byId("cohorts").replaceChildren(...table(["Cohort", "ε of visibility to readers", "ε₅₀ of the network"], found.cohorts.map((/** @type {any} */ one) =>
    [one.cohort, one.visible_epsilon === null ? "none that was shown" : amplitude(one.visible_epsilon), one.epsilon50])));
  byId("curves").replaceChildren(...cohorts.map((cohort) => {
    const mine = found.rows.filter((/** @type {any} */ row) => row.cohort === cohort);
    const about = mine.map((/** @type {any} */ row) => `${shortest(row.epsilon, 3)}: ${percent(row.rate)}`).join(", ");
    return element("figure", {}, element("figcaption", {}, `${cohort}: share of right answers over ε`),
      lines(mine.map((/** @type {any} */ row) => shortest(row.epsilon, 3)), mine.map((/** @type {any} */ row) => [row.rate, row.low, row.high]), -1,
        { axis: "ε", about: `Share of right answers over ε of ${cohort}: ${about}` }));
  }));
  byId("key").replaceChildren(...["right answers", "lower end of the interval", "upper end"].map((text, i) => element("li", {}, sample(i), text)));
  byId("rows").replaceChildren(...table(["Cohort", "ε", "right: which one", "interval", "right: diagnosis", "interval", "answers", "readers", "patients", "median s", "interval's method"],
    found.rows.map((/** @type {any} */ row) => [row.cohort, amplitude(row.epsilon), percent(row.rate), `${percent(row.low)} to ${percent(row.high)}`,
      percent(row.diagnosis_rate), `${percent(row.diagnosis_low)} to ${percent(row.diagnosis_high)}`, row.n, row.readers, row.patients, shortest(row.seconds, 3), row.method])));
}

begin().catch(say);
