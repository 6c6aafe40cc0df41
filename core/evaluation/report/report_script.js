"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const property = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  // Colours are names of the page's properties, so that figures follow its scheme.
  const coloured = (key, value) => {
    if (key === "colorscale") return [[0, property("low")], [0.5, property("card")], [1, property("high")]];
    return typeof value === "string" && /color$/.test(key) ? property(value) : value;
  };
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  for (const section of document.querySelectorAll("[data-figure]")) {
    const text = section.querySelector("script").textContent;
    const place = section.querySelector(".interactive");
    const select = section.querySelector("select");
    const draw = () => {
      const figure = JSON.parse(text, coloured);
      if (select) {
        const update = figure.updates[select.selectedIndex];
        figure.data.forEach((trace, index) => {
          for (const name in update) trace[name] = update[name][index];
        });
      }
      return Plotly.react(place, figure.data, figure.layout, options);
    };
    section.classList.add("live");
    Promise.resolve().then(draw).then(() => {
      dark.addEventListener("change", draw);
      if (select) select.addEventListener("change", draw);
    }).catch((error) => {
      section.classList.remove("live");
      console.error(error);
    });
  }
})();
