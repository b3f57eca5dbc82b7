// @ts-check
// Vega charts as the report draws them, with the library that the installation holds.

/** @type {Promise<any> | undefined} */
let loading;

/**
 * vegaEmbed, loaded when the first chart is drawn.
 * @returns {Promise<any>}
 */
function vega() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/static/vega.js";
    script.onload = () => resolve(/** @type {any} */ (window).vegaEmbed);
    script.onerror = () => reject(new Error("The chart library did not load."));
    document.head.append(script);
  });
  return loading;
}

/**
 * Draw a specification into a place; `chosen` is called with the datum of a mark that is clicked.
 * @param {HTMLElement} place
 * @param {object} spec
 * @param {string} about what who cannot see it should know
 * @param {(datum: any) => void} [chosen]
 */
export async function draw(place, spec, about, chosen) {
  const embed = await vega();
  const inside = document.createElement("div");
  // ast: expressions are interpreted, since the page allows no eval. Styles are the page's own.
  const options = { actions: false, renderer: "svg", ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true } };
  const { view } = await embed(inside, spec, options);
  if (chosen) view.addEventListener("click", (/** @type {any} */ _event, /** @type {any} */ item) => item?.datum && chosen(item.datum));
  const picture = inside.querySelector("svg");
  for (const part of inside.querySelectorAll("[role], [aria-label]")) {
    for (const name of ["role", "aria-roledescription", "aria-label"]) part.removeAttribute(name);
  }
  for (const name of ["role", "aria-roledescription", "aria-label"]) inside.removeAttribute(name);
  picture?.setAttribute("role", "img");
  picture?.setAttribute("aria-label", about);
  place.replaceChildren(inside);
  place.classList.remove("busy");
  if (place.scrollWidth > place.clientWidth) place.tabIndex = 0; // the arrow keys scroll what does not fit
}

export const narrow = window.matchMedia("(max-width: 700px)");
