(() => {
  const { charts, themes } = JSON.parse(document.getElementById("specs").textContent);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const views = {};

  function save(name, href) {
    const link = document.createElement("a");
    link.href = href;
    link.download = name;
    link.click();
  }

  function saveButtons(id, box) {
    const chart = charts[id];
    const row = document.createElement("div");
    row.className = "save";
    const name = document.getElementById(`${id}-name`).textContent;
    const csv = () => save(`${id}.csv`, URL.createObjectURL(new Blob([chart.data.values], { type: "text/csv" })));
    const image = (type) => async () => save(`${id}.${type}`, await views[id].toImageURL(type));
    for (const [type, action] of [["CSV", csv], ["SVG", image("svg")], ["PNG", image("png")]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = type;
      button.setAttribute("aria-label", `Save ${name} as ${type}`);
      button.addEventListener("click", action);
      row.append(button);
    }
    box.after(row);
  }

  async function draw() {
    document.documentElement.dataset.drawn = "no";
    const config = themes[scheme.matches ? "dark" : "light"];
    for (const box of document.querySelectorAll("[data-chart]")) {
      const id = box.dataset.chart;
      views[id]?.finalize();
      const result = await vegaEmbed(box, charts[id], {
        renderer: "svg",
        actions: false,
        config,
        tooltip: { theme: scheme.matches ? "dark" : "light" },
      });
      views[id] = result.view;
    }
    document.documentElement.dataset.drawn = scheme.matches ? "dark" : "light";
  }

  for (const box of document.querySelectorAll("[data-chart]")) saveButtons(box.dataset.chart, box);
  scheme.addEventListener("change", draw);
  draw();
})();
