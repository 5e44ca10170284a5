/* Charts whose data changes, and buttons that copy. HTMX and Chart.js are unfold's. */
(() => {
  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Map();

  const options = (spec) => ({
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    plugins: { legend: { display: false } },
    scales: {
      x: {
        stacked: Boolean(spec.stacked),
        grid: { display: false },
        ticks: { color: colour("--gh-quiet"), maxTicksLimit: spec.ticks || 12, maxRotation: 0 },
      },
      y: {
        stacked: Boolean(spec.stacked),
        beginAtZero: true,
        max: spec.max,
        title: { display: Boolean(spec.unit), text: spec.unit, color: colour("--gh-quiet") },
        grid: { color: colour("--gh-line") },
        ticks: { color: colour("--gh-quiet"), maxTicksLimit: 6, precision: spec.precision },
      },
    },
  });

  const dataset = (spec, item) => ({
    label: item.label,
    data: item.data,
    borderColor: colour(item.colour),
    backgroundColor: colour(item.colour),
    borderWidth: spec.type === "line" ? 2 : 0,
    pointRadius: spec.dots || 0,
    tension: 0.25,
    borderRadius: 2,
    maxBarThickness: 26,
    /* The newest point of a line is still growing. */
    segment: {
      borderDash: (part) => (part.p1DataIndex === spec.labels.length - 1 ? [4, 4] : undefined),
    },
  });

  /* `data-chart` names the element whose text is the chart's JSON. */
  const draw = (canvas) => {
    const source = document.getElementById(canvas.dataset.chart);
    if (!source) return;
    const spec = JSON.parse(source.textContent);
    const data = {
      labels: spec.labels,
      datasets: spec.datasets.map((item) => dataset(spec, item)),
    };
    const chart = drawn.get(canvas);
    if (chart) {
      chart.data = data;
      chart.options = options(spec);
      chart.update("none");
      return;
    }
    drawn.set(canvas, new Chart(canvas, { type: spec.type, data, options: options(spec) }));
  };

  const drawAll = () => document.querySelectorAll("canvas[data-chart]").forEach(draw);
  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:afterSettle", drawAll);

  /* What renews itself waits while somebody marks its text or is in it by keyboard. */
  const isInUse = (part) =>
    part.querySelector(":focus-visible") !== null ||
    (!getSelection().isCollapsed && getSelection().containsNode(part, true));
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.id === "live" && isInUse(event.target)) event.preventDefault();
  });

  /* A page without HTMX, loaded again until what it shows has ended. */
  document.addEventListener("DOMContentLoaded", () => {
    const main = document.querySelector("[data-reload-s]");
    if (!main) return;
    setInterval(() => {
      const isRead = isInUse(main) || main.querySelector("details[open]") !== null;
      if (document.visibilityState === "visible" && !isRead) location.reload();
    }, Number(main.dataset.reloadS) * 1000);
  });

  /* Without https a browser may have no clipboard: the text is marked to be copied. */
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    if (!navigator.clipboard) {
      getSelection().selectAllChildren(source);
      return;
    }
    navigator.clipboard.writeText(source.textContent.trim()).then(() => {
      button.textContent = "Copied";
    });
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) window.print();
  });

  /* A form that takes one step after the other, until somebody leaves the page. */
  document.addEventListener("DOMContentLoaded", () => {
    const form = document.querySelector("form[data-goes-on]");
    if (form) form.requestSubmit();
  });

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
})();
