// Still drawings become charts with tooltips once they are scrolled into view. Without this script nothing is lost.
(() => {
  const narrow = matchMedia("(max-width: 700px)");
  const draw = async (figure) => {
    const specs = JSON.parse(figure.querySelector(".specs").textContent);
    const live = figure.querySelector(".live");
    const still = figure.querySelector(".still");
    live.hidden = false;
    // ast: expressions are interpreted, so the page allows no eval.
    await vegaEmbed(live, narrow.matches ? specs.narrow : specs.wide, { actions: false, renderer: "svg", ast: true });
    const picture = live.querySelector("svg");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", still.querySelector("img").alt);
    still.style.display = "none";
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
