// @ts-check
// Pixels as the screen shows them: window and level, differences, zoom, grid. Values stay float32 in [0, 1].

/**
 * @typedef {{channels: number, height: number, width: number, values: Float32Array}} Raster
 * @typedef {{level: number, window: number, invert: boolean}} Grey
 * @typedef {{zoom: number, x: number, y: number}} View centre in pixels of the image
 */

/**
 * One proved iterate from the server.
 * @param {Response} answer
 * @returns {Promise<Raster>}
 */
export async function raster(answer) {
  const [channels, height, width] = (answer.headers.get("X-Shape") ?? "").split(",").map(Number);
  const bytes = await answer.arrayBuffer();
  if (bytes.byteLength !== 4 * channels * height * width) throw new Error("The server’s pixels are incomplete.");
  const view = new DataView(bytes);
  const values = new Float32Array(channels * height * width);
  for (let i = 0; i < values.length; i += 1) values[i] = view.getFloat32(4 * i, true); // little-endian, whatever this machine is
  return { channels, height, width, values };
}

/**
 * @param {Raster} image
 * @param {(value: number) => number} shade 0 … 255 of a value
 */
function bitmap(image, shade) {
  const { channels, height, width, values } = image;
  const made = new ImageData(width, height);
  const n = width * height;
  for (let i = 0; i < n; i += 1) {
    for (let c = 0; c < 3; c += 1) made.data[4 * i + c] = shade(values[(channels === 3 ? c : 0) * n + i]);
    made.data[4 * i + 3] = 255;
  }
  return made;
}

/**
 * The image through window and level: values below level − window/2 are black.
 * @param {Raster} image
 * @param {Grey} grey
 */
export function windowed(image, grey) {
  const low = grey.level - grey.window / 2;
  return bitmap(image, (value) => {
    const shade = Math.round(255 * Math.min(Math.max((value - low) / grey.window, 0), 1));
    return grey.invert ? 255 - shade : shade;
  });
}

/**
 * Mid-grey plus `factor` times the change: brighter where the attack made brighter.
 * @param {Raster} change
 * @param {number} factor
 */
export const magnified = (change, factor) => bitmap(change, (value) => Math.round(255 * Math.min(Math.max(0.5 + factor * value, 0), 1)));

/**
 * attacked − clean.
 * @param {Raster} attacked
 * @param {Raster} clean
 * @returns {Raster}
 */
export function subtract(attacked, clean) {
  return { ...clean, values: attacked.values.map((value, i) => value - clean.values[i]) };
}

/**
 * The values at fractions of the sorted pixels.
 * @param {Raster} image
 * @param {number[]} fractions
 */
export function quantiles(image, fractions) {
  const sorted = Float32Array.from(image.values).sort();
  return fractions.map((fraction) => sorted[Math.round(fraction * (sorted.length - 1))]);
}

/**
 * Values of every channel at a pixel.
 * @param {Raster} image
 * @param {number} x
 * @param {number} y
 */
export function at(image, x, y) {
  const n = image.width * image.height;
  return Array.from({ length: image.channels }, (_, c) => image.values[c * n + y * image.width + x]);
}

const GRID_FROM = 10; // screen pixels of an image pixel from which lines are drawn between them

/**
 * Draw a bitmap as a view shows it: nearest neighbour, no pixel is invented.
 * @param {HTMLCanvasElement} canvas
 * @param {ImageData} pixels
 * @param {View} view
 * @param {{x: number, y: number} | null} cursor in pixels of the image
 */
export function paint(canvas, pixels, view, cursor) {
  const side = Math.max(1, Math.round(canvas.clientWidth * window.devicePixelRatio));
  if (canvas.width !== side) { canvas.width = side; canvas.height = side; }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const source = document.createElement("canvas");
  Object.assign(source, { width: pixels.width, height: pixels.height });
  /** @type {any} */ (source.getContext("2d")).putImageData(pixels, 0, 0);
  const scale = (side / Math.max(pixels.width, pixels.height)) * view.zoom;
  const left = side / 2 - view.x * scale;
  const top = side / 2 - view.y * scale;
  context.imageSmoothingEnabled = false;
  context.fillStyle = "#202020";
  context.fillRect(0, 0, side, side);
  context.drawImage(source, left, top, pixels.width * scale, pixels.height * scale);
  if (scale >= GRID_FROM * window.devicePixelRatio && view.zoom > 1) {
    context.strokeStyle = "rgba(128, 128, 128, .45)";
    context.lineWidth = 1;
    context.beginPath();
    for (let x = 0; x <= pixels.width; x += 1) { context.moveTo(left + x * scale, top); context.lineTo(left + x * scale, top + pixels.height * scale); }
    for (let y = 0; y <= pixels.height; y += 1) { context.moveTo(left, top + y * scale); context.lineTo(left + pixels.width * scale, top + y * scale); }
    context.stroke();
  }
  if (cursor) {
    const [x, y] = [left + cursor.x * scale, top + cursor.y * scale];
    for (const [colour, grow] of /** @type {[string, number][]} */ ([["#000000", 2], ["#ffd24d", 1]])) {
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      context.strokeRect(x - grow, y - grow, scale + 2 * grow, scale + 2 * grow);
    }
  }
}

/**
 * The pixel of the image under a point of the canvas; null outside.
 * @param {HTMLCanvasElement} canvas
 * @param {Raster} image
 * @param {View} view
 * @param {MouseEvent} event
 */
export function under(canvas, image, view, event) {
  const box = canvas.getBoundingClientRect();
  const scale = (box.width / Math.max(image.width, image.height)) * view.zoom;
  const x = Math.floor((event.clientX - box.left - box.width / 2) / scale + view.x);
  const y = Math.floor((event.clientY - box.top - box.height / 2) / scale + view.y);
  return x >= 0 && y >= 0 && x < image.width && y < image.height ? { x, y } : null;
}
