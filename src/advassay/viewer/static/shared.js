// @ts-check
// What all pages share: elements made without markup, numbers as text, notices.

import { ask } from "./source.js";

/**
 * An element; texts become text nodes, never markup.
 * @param {string} name
 * @param {Record<string, unknown>} [attributes] false and null are left out
 * @param {...(Node | string | number | null)} content
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...content.flatMap((one) => (one === null ? [] : [typeof one === "number" ? String(one) : one])));
  return made;
}

/**
 * @param {string} id
 * @returns {any}
 */
export const byId = (id) => document.getElementById(id);

/**
 * Options of a select, the chosen one kept where it still exists.
 * @param {HTMLSelectElement} select
 * @param {(string | [value: string, text: string])[]} options
 * @param {string | null} [chosen]
 */
export function fill(select, options, chosen) {
  const pairs = options.map((one) => (typeof one === "string" ? [one, one] : one));
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value }, text)));
  const wanted = chosen ?? "";
  select.value = pairs.some(([value]) => value === wanted) ? wanted : (pairs[0]?.[0] ?? "");
}

/** @param {number | null | undefined} value */
export const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);

/**
 * ε, and in grey levels of 255.
 * @param {number} epsilon
 */
export const amplitude = (epsilon) => `${shortest(epsilon)} (${shortest(255 * epsilon, 3)}/255)`;

/**
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function shortest(value, digits = 6) {
  return value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));
}

/**
 * The title of the store in the page's head; what of it cannot be read.
 * @param {string} page
 */
export async function nameStore(page) {
  const store = await ask("/api/store");
  byId("store-name").textContent = store.title;
  document.title = `${page} – ${store.title}`;
  if (store.changed) notice("Files of the store were written after the viewer opened it. What is shown is as it was then: start the viewer again to see it as it is.");
  return store;
}

/**
 * A sentence at the head of the page; the same one once.
 * @param {string} text
 * @param {string} [role]
 */
export function notice(text, role) {
  const before = [...document.querySelectorAll("#main > p.notice")].find((one) => one.textContent === text);
  if (!before) byId("main").prepend(element("p", { class: "notice", role }, text));
}

/**
 * Say an error in the page.
 * @param {unknown} error
 */
export function say(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  notice(error instanceof Error ? error.message : String(error), "alert");
}
