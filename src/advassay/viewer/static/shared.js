// @ts-check
// What all pages share: answers of the server, elements made without markup, numbers as text.

/** @typedef {{[name: string]: any}} Json */

/**
 * The answer of the server as JSON. Throws an Error with the server's sentence where it refuses.
 * @param {string} path
 * @param {Record<string, unknown>} [query] entries that are undefined, null or empty are left out
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function ask(path, query = {}, signal) {
  const answer = await fetch(path + search(query), { signal });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error ?? `The server answered ${answer.status}.`);
  return content;
}

/** @param {Record<string, unknown>} query */
export function search(query) {
  const kept = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}

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
  made.append(...content.filter((one) => one !== null).map((one) => (typeof one === "number" ? String(one) : one)));
  return made;
}

/** @param {string} id @returns {any} */
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

/** ε, and in grey levels of 255. @param {number} epsilon */
export const amplitude = (epsilon) => `${shortest(epsilon)} (${shortest(255 * epsilon, 3)}/255)`;

/** @param {number | null | undefined} value @param {number} [digits] */
export function shortest(value, digits = 6) {
  return value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));
}

/** The title of the store in the page's head; what of it cannot be read. @param {string} page */
export async function nameStore(page) {
  const store = await ask("/api/store");
  byId("store-name").textContent = store.title;
  document.title = `${page} – ${store.title}`;
  return store;
}

/** Say an error in the page. @param {unknown} error */
export function say(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  const text = error instanceof Error ? error.message : String(error);
  byId("main").prepend(element("p", { class: "notice", role: "alert" }, text));
}
