// @ts-check
// Where numbers and pixels come from: the viewer's server. bundle_source.js has the same names for a bundle of files.
import { raster } from "./raster.js";

/** @typedef {import("./raster.js").Raster} Raster */

/**
 * The answer of the server as JSON. Throws an Error with the server's sentence where it refuses.
 * @param {string} path
 * @param {Record<string, unknown>} [query] entries that are undefined, null or empty are left out
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function ask(path, query = {}, signal) {
  return content(await fetch(path + search(query), { signal }));
}

/**
 * Send an answer of a reader study.
 * @param {string} path
 * @param {object} what
 * @returns {Promise<any>}
 */
export async function send(path, what) {
  return content(await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(what) }));
}

/** @param {Response} answer */
async function content(answer) {
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error ?? `The server answered ${answer.status}.`);
  return told;
}

/**
 * One proved iterate.
 * @param {Record<string, unknown>} query run, image, step_size, epsilon, step
 * @returns {Promise<Raster>}
 */
export async function pixelsOf(query) {
  const answer = await fetch(`/api/pixels${search(query)}`);
  return answer.ok ? raster(answer) : content(answer);
}

/**
 * Address of a file to save; null where there is none.
 * @param {string} kind png, dicom …
 * @param {Record<string, unknown>} query
 * @returns {string | null}
 */
export const fileAddress = (kind, query) => `/api/${kind}${search(query)}`;

/** @param {Record<string, unknown>} query */
export function search(query) {
  const kept = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}

let waiting = 0;

/**
 * Have the address say what is looked at; a moment later, since browsers refuse a hundred changes in a row.
 * @param {Record<string, unknown>} query
 */
export function keepAddress(query) {
  clearTimeout(waiting);
  waiting = window.setTimeout(() => history.replaceState(null, "", search(query) || location.pathname), 150);
}
