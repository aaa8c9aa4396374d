/* Charts, drawn by Vega from the definitions in flows/charts.py and the rows of this page. */
const OPTIONS = { ast: true, actions: false, renderer: "svg", defaultStyle: false, tooltip: false };
const drawn = new Map();
/* Draw a chart of rows into a box, which is told by its label: a picture's parts are not read one by one. */
async function draw(box, name, rows, label) {
  const style = getComputedStyle(box);
  const width = Math.max(240, Math.floor(box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)));
  const spec = structuredClone(data.specs[language][name]);
  spec.datasets = { [name]: rows };
  spec.padding = { left: 0, right: 0, top: 0, bottom: 6 };
  if (spec.vconcat) for (const part of spec.vconcat) part.width = width - 86;
  else if (spec.spec) spec.spec.width = width - 52;
  else Object.assign(spec, { width, autosize: { type: "fit-x", contains: "padding" } });
  if (width < 400) spec.config.legend.columns = 1;
  if (spec.height?.step) spec.height = spec.height.step * rows.length;
  drawn.get(box)?.finalize();
  const chart = await vegaEmbed(box, spec, OPTIONS);
  drawn.set(box, chart);
  const svg = box.querySelector("svg");
  for (const part of box.querySelectorAll("[role], [aria-label], [aria-roledescription]"))
    for (const attribute of ["role", "aria-label", "aria-roledescription"]) part.removeAttribute(attribute);
  for (const attribute of ["role", "aria-label", "aria-roledescription"]) box.removeAttribute(attribute);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return chart;
}
async function drawCharts() {
  for (const [name, rows] of Object.entries(data.rows)) {
    const box = $(name + "-chart");
    if (!box) continue;
    box.hidden = !rows.length;
    if (rows.length) await draw(box, name, rows, `${say(name + "_heading")}. ${say(name + "_lead")}`);
  }
}
