// Still drawings become charts with tooltips once they are scrolled into view. Without this script nothing is lost.
(() => {
  const narrow = matchMedia("(max-width: 700px)");
  // Data come once for both drawings, as columns and rows; Vega-Lite wants rows with names.
  const unpack = ({ columns, rows }) => rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
  const draw = async (figure) => {
    const { datasets, ...specs } = JSON.parse(figure.querySelector(".specs").textContent);
    const named = Object.fromEntries(Object.entries(datasets).map(([name, set]) => [name, unpack(set)]));
    const spec = { ...(narrow.matches ? specs.narrow : specs.wide), datasets: named };
    const live = figure.querySelector(".live");
    const still = figure.querySelector(".still");
    live.hidden = false;
    // ast: expressions are interpreted, so the page allows no eval.
    await vegaEmbed(live, spec, { actions: false, renderer: "svg", ast: true });
    const picture = live.querySelector("svg");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", still.querySelector("img").alt);
    // The picture is named as a whole: roles of its marks would ask for a name each, and names for a role.
    for (const part of picture.querySelectorAll("[role], [aria-label]")) ["role", "aria-roledescription", "aria-label"].forEach((name) => part.removeAttribute(name));
    ["role", "aria-roledescription", "aria-label"].forEach((name) => live.removeAttribute(name));
    still.style.display = "none";
    if (live.scrollWidth > live.clientWidth) live.tabIndex = 0;  // the arrow keys scroll what does not fit
    figure.dataset.drawn = "yes";
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "200px" });
  const figures = [...document.querySelectorAll("figure")].filter((figure) => figure.querySelector(".specs"));
  figures.forEach((figure) => seen.observe(figure));
  narrow.addEventListener("change", () => figures.filter((figure) => figure.dataset.drawn).forEach(draw));
})();
