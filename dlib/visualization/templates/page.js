"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function layoutOf(chart, width) {
    const axis = (own) => ({
      gridcolor: style("--grid"), zeroline: false, linecolor: style("--line"), automargin: true, ...own,
      title: { font: { size: 12, color: style("--muted") }, standoff: 6, ...(own || {}).title },
    });
    const { xaxis, yaxis, ...rest } = chart.layout;
    const shown = chart.data.filter((t) => !t.group && t.showlegend !== false).length;
    const wide = width > 700;
    const rows = wide || shown < 7 ? 0 : Math.ceil(shown / 2); // many classes on a phone: room for the legend
    const height = wide ? 380 : 270 + 20 * rows;
    return {
      height, hovermode: "x unified", dragmode: false,
      margin: { l: 44, r: wide ? 20 : 12, t: 10, b: 40 + 26 * rows },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: style("--ink") },
      hoverlabel: { bgcolor: style("--card"), bordercolor: style("--line"), font: { color: style("--ink") } },
      showlegend: shown > 1,
      legend: { traceorder: "normal", ...(wide && shown > 6 ? {} : { orientation: "h", yref: "container", y: 0.01, yanchor: "bottom", x: 0, ...(rows ? { entrywidth: 0.48, entrywidthmode: "fraction" } : {}) }) },
      xaxis: axis(xaxis), yaxis: axis(yaxis), ...rest,
    };
  }

  function draw(figure) {
    const chart = charts[figure.dataset.chart];
    const plot = figure.querySelector(".plot");
    const group = Number(figure.dataset.group || 0);
    const data = chart.data.filter((t) => t.group === undefined || t.group === group).map(({ group: _, ...t }) => t);
    Plotly.react(plot, data, layoutOf(chart, plot.clientWidth), { displayModeBar: false, responsive: true });
  }

  function addButtons(figure) {
    const labels = charts[figure.dataset.chart].buttons;
    if (!labels.length) return;
    const select = document.createElement("select");
    select.setAttribute("aria-label", "what is shown");
    labels.forEach((text, i) => select.add(new Option(text, i)));
    select.addEventListener("change", () => { figure.dataset.group = select.value; draw(figure); });
    figure.querySelector("figcaption").append(" ", select);
  }

  async function loadPlotly() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  async function drawCharts() {
    const figures = [...document.querySelectorAll("[data-chart]")];
    if (!figures.length) return;
    figures.forEach(addButtons);
    try {
      await loadPlotly();
    } catch (error) {
      figures.forEach((f) => { f.querySelector(".plot").textContent = "This browser cannot draw charts; see the curves_*.png beside this file."; });
      return;
    }
    const drawn = new Set();
    const watch = new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (!entry.isIntersecting || drawn.has(entry.target)) return;
      drawn.add(entry.target);
      draw(entry.target);
    }), { rootMargin: "600px" });
    figures.forEach((f) => watch.observe(f));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
    document.documentElement.dataset.ready = "true";
  }

  document.querySelectorAll(".gallery").forEach((gallery) => {
    const filters = [...gallery.querySelectorAll("[data-filter]")];
    const frames = [...gallery.querySelectorAll(".frame")];
    const output = gallery.querySelector("output");
    const apply = () => {
      const [label, group] = filters.map((f) => f.value);
      let shown = 0;
      frames.forEach((f) => {
        f.hidden = Boolean((label && f.dataset.label !== label) || (group && !JSON.parse(f.dataset.groups).includes(group)));
        shown += f.hidden ? 0 : 1;
      });
      output.textContent = `${shown} of ${frames.length} frames`;
    };
    filters.forEach((f) => f.addEventListener("change", apply));
    if (filters.length) apply();
  });
  drawCharts();
})();
