// @ts-check
// The names of source.js for a bundle: numbers and pixels come from the scripts beside the page.

/** @typedef {import("./raster.js").Raster} Raster */
/** @typedef {{rows: any[], proofs: any[], pixels: ({shape: number[], data: string} | null)[]}} Content at every ε */

const bundle = /** @type {any} */ (globalThis).advassayBundle;
/** @type {Map<string, Promise<Content>>} */
const loadedCases = new Map();
/** @type {Map<string, (content: Content) => void>} */
const awaited = new Map();
bundle.take = (/** @type {string} */ file, /** @type {Content} */ content) => awaited.get(file)?.(content);

/**
 * @param {any} query
 * @returns {Promise<Content>}
 */
function caseOf(query) {
  const found = bundle.cases.find((/** @type {any} */ one) => ["run", "image", "step_size"].every((name) => one.key[name] === query[name]));
  if (!found) throw new Error("This bundle does not hold the image.");
  const file = /** @type {string} */ (found.file);
  const kept = loadedCases.get(file);
  if (kept) return kept;
  const made = new Promise((resolve, reject) => {
    awaited.set(file, resolve);
    const script = document.createElement("script");
    script.src = file;
    script.onerror = () => reject(new Error(`The file ${file} of the bundle is missing.`));
    document.head.append(script);
  });
  loadedCases.set(file, made);
  return made;
}

/**
 * @param {Content} content
 * @param {any} query
 */
function place(content, query) {
  const found = content.rows.findIndex((row) => row.epsilon === Number(query.epsilon));
  if (found < 0) throw new Error("The image was not attacked at this ε.");
  return found;
}

/**
 * @param {string} path
 * @param {any} [query]
 * @returns {Promise<any>}
 */
export async function ask(path, query = {}) {
  if (path === "/api/store") return { title: bundle.title, changed: false, warnings: [], bundle };
  const content = await caseOf(query);
  const here = place(content, query);
  return path === "/api/image" ? content.rows[here] : { state: "done", proof: content.proofs[here] };
}

/** @type {Map<string, Promise<Uint16Array>>} */
const unpacked = new Map();

/**
 * @param {any} query
 * @returns {Promise<Raster>}
 */
export async function pixelsOf(query) {
  const content = await caseOf(query);
  const here = place(content, query);
  const stored = content.pixels[here];
  if (!stored) throw new Error(content.proofs[here].reason);
  const [, channels, height, width] = stored.shape;
  const name = JSON.stringify([query.run, query.image, query.step_size, here]);
  let levels = unpacked.get(name);
  if (!levels) {
    if (unpacked.size > 3) unpacked.delete(/** @type {string} */ (unpacked.keys().next().value));
    unpacked.set(name, levels = unpack(stored.data, channels * height * width));
  }
  const n = channels * height * width;
  return { channels, height, width, values: Float32Array.from((await levels).subarray(query.step * n, (query.step + 1) * n), (level) => level / 65535) };
}

/**
 * Levels of all iterates; each was stored less the one before.
 * @param {string} text
 * @param {number} n
 */
async function unpack(text, n) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const inflated = new Response(new Blob([bytes]).stream().pipeThrough(new (/** @type {any} */ (globalThis).DecompressionStream)("deflate")));
  const view = new DataView(await inflated.arrayBuffer());
  const levels = new Uint16Array(view.byteLength / 2);
  for (let i = 0; i < levels.length; i += 1) levels[i] = view.getUint16(2 * i, true) + (i >= n ? levels[i - n] : 0);
  return levels;
}

/**
 * @param {string} _kind
 * @param {Record<string, unknown>} _query
 * @returns {string | null} there is nothing that would make a file
 */
export const fileAddress = (_kind, _query) => null;

/** @param {Record<string, unknown>} query */
export function search(query) {
  const kept = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}

let waiting = 0;

/** @param {Record<string, unknown>} query */
export function keepAddress(query) {
  clearTimeout(waiting);
  waiting = window.setTimeout(() => history.replaceState(null, "", search(query) || location.pathname), 150);
}
