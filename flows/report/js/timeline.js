/* A restart: what was waiting, and what let it out. */
/* The rows of its timeline, as sql/report/timelines.sql gives them; content.py made them short. */
function timelineRows(timeline) {
  const rows = [];
  for (const [kind, pairs] of Object.entries(timeline.m)) {
    for (let k = 0, at = 0; k < pairs.length; k += 2)
      rows.push({ kind: data.kinds.mail[kind], at_seconds: (at += pairs[k]), until_seconds: null, message_count: pairs[k + 1], is_told: false });
  }
  for (const [kind, at_seconds, until_seconds = 0, message_count = 0, is_told = 0] of timeline.t)
    rows.push({ kind: data.kinds.marks[kind], at_seconds, until_seconds, message_count, is_told: Boolean(is_told) });
  /* A narrow picture has room for fewer labels. */
  if (innerWidth < 640) {
    const runs = rows.filter((r) => r.kind === "queue_run").sort((a, b) => b.message_count - a.message_count);
    for (const run of runs.slice(2)) run.is_told = false;
  }
  return rows;
}
/* How much mail waited from when on. */
function waitingLine(rows) {
  const steps = rows.filter((r) => data.kinds.mail.includes(r.kind))
    .map((r) => ({ at: r.at_seconds, n: r.kind === "deferred" ? r.message_count : -r.message_count })).sort((a, b) => a.at - b.at);
  const line = [];
  let waiting = 0;
  for (const { at, n } of steps) {
    waiting += n;
    if (line.length && line.at(-1).at === at) line.at(-1).waiting = waiting;
    else line.push({ at, waiting });
  }
  return line;
}
function tell(i, timeline, rows) {
  const line = waitingLine(rows), start = timeline.x[4] ?? 0, v = verdict(i);
  const instant = (...kinds) => rows.find((r) => kinds.includes(r.kind))?.at_seconds ?? null;
  const flushed = instant("flush"), ordered = instant("ordered", "marked");
  const waitingAt = (at) => line.reduce((now, p) => (p.at < at ? p.waiting : now), 0);
  const after = (at) => duration(Math.max(0, at - start));
  const releases = rows.filter((r) => r.kind.endsWith("_release"));
  const last = Math.max(0, ...releases.map((r) => r.at_seconds));
  const figures = { waiting: waitingAt(flushed ?? start), peak: Math.max(0, ...line.map((p) => p.waiting)), last: after(last), why: why(i) };
  if (v === "effective" && flushed !== null) return say("said_flush", { ...figures, after: after(flushed) });
  if (v === "ineffective" && ordered !== null && releases.length) return say("said_ineffective", { ...figures, after: after(ordered) });
  if (MISSING.includes(v) && releases.length) return say("said_missing", figures);
  return say(v === "not_needed" ? "said_not_needed" : "said_unknown", figures);
}
function detailRow(i) {
  const timeline = data.timelines[i], id = restartId(i);
  const box = make("td", { colSpan: 8, role: "cell" });
  const command = `maillag explain ${/^[\w.@:][\w.@:-]*$/.test(id) ? id : `'${id.replaceAll("'", "'\\''")}'`}`;
  const tools = make("div", { className: "tools" });
  if (timeline) {
    const rows = timelineRows(timeline), said = tell(i, timeline, rows);
    const picture = make("div", { className: "timeline" });
    box.append(make("p", { className: "said", textContent: said }), picture);
    /* Once the row is in the page its width is known. */
    const ready = new Promise((done) => requestAnimationFrame(() => done(draw(picture, "marks", rows, say("timeline_label", { id, said })))));
    const [build, confidence, isOverlong, over5, up] = timeline.x;
    const facts = [["detail_down", `${localTime(columns.down[i])} (${say("host_time")})`],
      ["detail_up", up === null ? "-" : (columns.rough[i] ? "~" : "") + duration(up)],
      ["detail_held", number(columns.held[i])], ["detail_over5", number(over5)],
      ["column_median", columns.median[i] === null ? "-" : duration(columns.median[i])],
      ["column_trigger", trigger(i)], ["detail_confidence", word("confidence_" + confidence)], ["hosts_build_verdict", word("build_" + build)]];
    box.append(make("dl", { className: "facts" }, ...facts.map(([key, text]) => make("div", {}, make("dt", { textContent: say(key) }), make("dd", { textContent: text })))));
    if (isOverlong) box.append(make("p", { className: "warn", textContent: say("detail_overlong") }));
    const save = make("button", { type: "button", textContent: say("timeline_save") });
    save.addEventListener("click", async () => savePicture(await ready, id, said));
    tools.append(say("timeline_command"), make("code", { textContent: command }), copyButton(() => command), save);
    if (rows.some((r) => r.kind === "unsure" && r.until_seconds - r.at_seconds > 5)) tools.append(make("span", { textContent: say("timeline_uncertain") }));
  } else {
    const said = columns.held[i] ? "timeline_left_out" : "timeline_nothing";
    box.append(make("p", { className: "said", textContent: say(said) }));
    tools.append(columns.held[i] ? "" : say("timeline_command"), make("code", { textContent: command }), copyButton(() => command));
  }
  box.append(tools);
  return make("tr", { className: "detail", role: "row" }, box);
}
const SVG = "http://www.w3.org/2000/svg";
function svgElement(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}
/* A picture that is saved has no style sheet: its colours are put in. */
async function savePicture(chart, id, said) {
  const style = getComputedStyle(root);
  const picture = new DOMParser().parseFromString(await chart.view.toSVG(), "image/svg+xml").documentElement;
  const width = Number(picture.getAttribute("width")), height = Number(picture.getAttribute("height"));
  const outer = svgElement("svg", { width, height: height + 48, viewBox: `0 0 ${width} ${height + 48}`, "font-family": "system-ui, sans-serif" });
  outer.append(svgElement("rect", { width, height: height + 48, fill: "var(--card)" }),
    svgElement("text", { x: 8, y: 18, "font-size": 14, fill: "var(--ink)" }, id), svgElement("text", { x: 8, y: 36, "font-size": 11, fill: "var(--ink)" }, said));
  picture.setAttribute("y", 48);
  outer.append(picture);
  const text = new XMLSerializer().serializeToString(outer).replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "image/svg+xml" })), download: `${id.replace(/[^\w.-]/g, "_")}.svg` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
