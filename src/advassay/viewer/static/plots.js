// @ts-check
// Probabilities as lines: marks and dashes tell classes apart, not colour alone.

const NS = "http://www.w3.org/2000/svg";
const COLOURS = ["#2f7fc1", "#d9681d", "#1f9e78", "#b45c92", "#8a7a1a", "#777777"]; // legible on white and on black
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2", "1 3"];
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [460, 230, 46, 40, 12, 14];

/**
 * @param {string} name
 * @param {Record<string, unknown>} attributes
 * @param {string} [text]
 */
function svg(name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/** @param {number} place */
const stroke = (place) => ({ stroke: COLOURS[place % COLOURS.length], "stroke-dasharray": DASHES[place % DASHES.length], "stroke-width": 2.2, fill: "none" });

/**
 * Lines of every class's probability; a line at the point that is looked at.
 * @param {string[]} ticks what stands under each point
 * @param {(number | null)[][]} probabilities (point, class)
 * @param {number} now
 * @param {{axis: string, about: string}} words
 */
export function lines(ticks, probabilities, now, words) {
  const made = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words.about });
  const x = (/** @type {number} */ i) => LEFT + ((WIDTH - LEFT - RIGHT) * i) / Math.max(1, ticks.length - 1);
  const y = (/** @type {number} */ value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value);
  for (const value of [0, 0.5, 1]) {
    made.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    made.append(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, `${100 * value} %`));
  }
  const every = Math.ceil(ticks.length / 7);
  ticks.forEach((text, i) => {
    if (i % every === 0) made.append(svg("text", { x: x(i), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, text));
  });
  made.append(svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, words.axis));
  if (now >= 0) made.append(svg("line", { class: "now", x1: x(now), x2: x(now), y1: TOP, y2: HEIGHT - BOTTOM }));
  (probabilities[0] ?? []).forEach((_, c) => {
    let path = "";
    let pen = "M";
    probabilities.forEach((point, i) => {
      const value = point[c];
      if (value === null) { pen = "M"; return; } // no decision there: the line breaks
      path += `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    });
    made.append(svg("path", { d: path || "M0 0", ...stroke(c) }));
    const here = probabilities[now]?.[c];
    if (here !== undefined && here !== null) made.append(svg("circle", { cx: x(now), cy: y(here), r: 4, fill: COLOURS[c % COLOURS.length] }));
  });
  return made;
}

/**
 * A sample of a class's line, for the key.
 * @param {number} place
 */
export function sample(place) {
  const made = svg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
  made.append(svg("path", { d: "M0 5L26 5", ...stroke(place) }));
  return made;
}
