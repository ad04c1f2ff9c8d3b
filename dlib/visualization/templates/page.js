"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const PRINTED = { half: 320, whole: 676 }; // pixels inside a card on A4, in a grid of two columns or alone

  // Whole epochs only: a tick at 1, 2, 5, 10, … of them.
  function epochTicks(chart) {
    if ((chart.layout.xaxis?.title || {}).text !== "epoch") return {};
    const xs = chart.data.flatMap((t) => t.x);
    const span = Math.max(...xs, 1) - Math.min(...xs, 0);
    const dtick = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((d) => span / d <= 10) || 1000;
    return { tick0: 0, dtick };
  }

  function layoutOf(chart, width) {
    const axis = (own) => ({
      gridcolor: style("--grid"), zeroline: false, linecolor: style("--line"), automargin: true, exponentformat: "power", ...own,
      title: { font: { size: 12, color: style("--muted") }, standoff: 6, ...(own || {}).title },
    });
    const { xaxis, yaxis, ...rest } = chart.layout;
    const shown = chart.data.filter((t) => !t.group && t.showlegend !== false).length;
    const wide = width > 660;
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
      xaxis: axis({ ...epochTicks(chart), ...xaxis }), yaxis: axis(yaxis), ...rest,
    };
  }

  const drawn = new Set();
  function draw(figure, width) {
    const chart = charts[figure.dataset.chart];
    const plot = figure.querySelector(".plot");
    const group = Number(figure.dataset.group || 0);
    const data = chart.data.filter((t) => t.group === undefined || t.group === group).map(({ group: _, ...t }) => t);
    const layout = layoutOf(chart, width || plot.clientWidth);
    plot.style.height = `${layout.height}px`;
    drawn.add(figure);
    Plotly.react(plot, data, { ...layout, ...(width ? { width } : {}) }, { displayModeBar: false, responsive: !width });
  }

  function addButtons(figure) {
    const labels = charts[figure.dataset.chart].buttons;
    if (!labels.length) return;
    const select = document.createElement("select");
    select.setAttribute("aria-label", "what is shown");
    labels.forEach((text, i) => select.add(new Option(text, i)));
    select.addEventListener("change", () => { figure.dataset.group = select.value; if (window.Plotly) draw(figure); });
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
    // The final heights from the start, so that nothing moves when the charts come.
    figures.forEach((f) => {
      const plot = f.querySelector(".plot");
      plot.style.height = `${layoutOf(charts[f.dataset.chart], plot.clientWidth).height}px`;
    });
    try {
      await loadPlotly();
    } catch (error) {
      figures.forEach((f) => { f.querySelector(".plot").textContent = "This browser cannot draw charts; see the curves_*.png beside this file."; });
      return;
    }
    const away = (f) => { const { top, bottom } = f.getBoundingClientRect(); return Math.max(top - innerHeight, -bottom, 0); };
    const next = () => {
      const left = figures.filter((f) => !drawn.has(f));
      if (!left.length) { document.documentElement.dataset.ready = "true"; return; }
      draw(left.reduce((a, b) => (away(b) < away(a) ? b : a))); // what the reader sees first
      setTimeout(next);
    };
    addEventListener("beforeprint", () => {
      document.documentElement.dataset.print = "true";
      figures.forEach((f) => draw(f, f.closest(".grid") ? PRINTED.half : PRINTED.whole));
    });
    addEventListener("afterprint", () => {
      delete document.documentElement.dataset.print;
      figures.forEach((f) => draw(f));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((f) => draw(f)));
    next();
  }

  // Frames: filters, and boxes that follow one threshold for all classes.
  function boxAt(map, tau) {
    const level = Math.floor(tau * map.peak);
    let found = map.steps[0];
    for (const step of map.steps) if (step[0] <= level) found = step;
    return { box: found.slice(1, 5), iou: found[5] };
  }

  function place(frame, tau) {
    const strip = JSON.parse(frame.dataset.strip);
    const [width, height] = strip.size;
    strip.maps.forEach((map, i) => {
      const { box, iou } = tau === null ? map : boxAt(map, tau);
      const rect = frame.querySelector(`rect[data-map="${i}"]`);
      rect.setAttribute("visibility", box && box.some((v) => v) ? "visible" : "hidden");
      if (box) {
        const [x0, y0, x1, y1] = box;
        const values = {
          x: (i + 1) * (width + strip.gap) + x0 * width / strip.side, y: y0 * height / strip.side,
          width: (x1 - x0 + 1) * width / strip.side, height: (y1 - y0 + 1) * height / strip.side,
        };
        for (const [name, value] of Object.entries(values)) rect.setAttribute(name, value.toFixed(2));
      }
      const text = iou === null ? "" : `IoU ${iou.toFixed(2)}`;
      frame.querySelector(`[data-iou="${i}"]`).textContent = text;
      if (i === strip.maps.length - 1 && iou !== null) {
        const shown = frame.querySelector(".iou");
        shown.textContent = text;
        shown.className = `iou ${iou >= 0.5 ? "good" : "bad"}`;
      }
    });
    const chip = frame.querySelector(".chip"); // says why the box at the best threshold failed
    if (chip) chip.hidden = tau !== null;
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
    const slider = gallery.querySelector(".slider");
    if (!slider) return;
    const [range, reset, said] = ["input", "button", "[role=status]"].map((part) => slider.querySelector(part));
    const usual = said.textContent;
    const { taus, maps } = JSON.parse(slider.dataset.curves);
    const slide = () => {
      const used = range.dataset.used === "true";
      const tau = used ? taus[Number(range.value)] : null;
      frames.filter((f) => f.dataset.strip).forEach((f) => place(f, tau));
      reset.hidden = !used;
      if (!used) { said.textContent = usual; return; }
      const label = filters[0].value;
      const values = Object.entries(maps).map(([name, curves]) => `${name} ${(curves[label] || [NaN])[Number(range.value)]} %`);
      said.textContent = `τ = ${tau.toFixed(3)}: CorLoc ${label ? `of ${label} ` : ""}on the test split: ${values.reverse().join(", ")}`;
    };
    filters.forEach((f) => f.addEventListener("change", slide));
    range.max = taus.length - 1;
    range.value = Math.round(range.max / 3);
    range.addEventListener("input", () => { range.dataset.used = "true"; slide(); });
    reset.addEventListener("click", () => { range.dataset.used = "false"; slide(); });
  });

  // Pictures open large, with the boxes as they are.
  const dialog = document.createElement("dialog");
  document.body.append(dialog);
  const pictures = [...document.querySelectorAll(".picture")];
  let open = null;
  function showLarge(picture) {
    const image = picture.querySelector("img");
    const copy = picture.cloneNode(true);
    const caption = document.createElement("p");
    caption.textContent = image.alt;
    const scale = Math.min(innerWidth * 0.96 / image.width || 1, innerWidth * 0.96 / image.naturalWidth, (innerHeight * 0.9) / image.naturalHeight);
    copy.style.width = `${image.naturalWidth * scale}px`;
    dialog.replaceChildren(copy, caption);
    open = picture;
    if (!dialog.open) dialog.showModal();
  }
  pictures.forEach((p) => {
    p.addEventListener("click", () => showLarge(p));
    p.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); showLarge(p); } });
  });
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (e) => {
    const shift = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!shift) return;
    const visible = pictures.filter((p) => p.offsetParent);
    const other = visible[visible.indexOf(open) + shift];
    if (other) showLarge(other);
  });

  // While the run goes on, the page loads itself again, with filters, slider and open parts as they were.
  const kept = () => [...document.querySelectorAll("select, input[type=range]")];
  const key = `state ${location.pathname}`;
  function keep() {
    const fields = kept().map((f) => [f.value, f.dataset.used || ""]);
    const parts = [...document.querySelectorAll("details")].map((d) => d.open);
    try { sessionStorage.setItem(key, JSON.stringify({ fields, parts })); } catch (error) { /* a browser that keeps nothing */ }
  }
  function restore() {
    let state = null;
    try { state = JSON.parse(sessionStorage.getItem(key)); sessionStorage.removeItem(key); } catch (error) { return; }
    const fields = kept();
    if (!state || state.fields.length !== fields.length) return;
    fields.forEach((f, i) => {
      [f.value, f.dataset.used] = state.fields[i];
      if (f.type !== "range") f.dispatchEvent(new Event("change"));
      else if (f.dataset.used === "true") f.dispatchEvent(new Event("input"));
    });
    document.querySelectorAll("details").forEach((d, i) => { d.open = Boolean(state.parts[i]); });
  }
  const seconds = Number(document.body.dataset.refresh || 0);
  if (seconds) setInterval(() => { if (!document.hidden && !dialog.open) { keep(); location.reload(); } }, 1000 * seconds);
  drawCharts();
  restore();
  addEventListener("load", () => { if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView(); });
})();
