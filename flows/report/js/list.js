/* The list of restarts. The filters' state is the address, so that it can be sent and bookmarked. */
const anyMissing = columns.verdict.some((v) => MISSING.includes(verdicts[v]));
const nothing = () => ({ verdict: anyMissing ? [...MISSING] : [...verdicts], host: "", trigger: "", from: "", until: "", find: "", sort: anyMissing ? "-avoidable" : "-down", open: "" });
let state = nothing();
let shown = PAGE;
let found = [];
const opened = new Set();

function readAddress() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return false;
  const said = new URLSearchParams(hash);
  state = nothing();
  for (const key of Object.keys(state)) if (said.has(key)) state[key] = said.get(key);
  if (said.has("open")) state.find = said.get("open"), state.verdict = [...verdicts];
  else if (typeof state.verdict === "string") state.verdict = state.verdict.split(",");
  else if (said.has("host")) state.verdict = [...verdicts];
  if (!columns[state.sort.replace("-", "")]) state.sort = nothing().sort;
  return true;
}
function writeAddress() {
  const said = new URLSearchParams(), base = nothing();
  for (const key of Object.keys(state)) if (key !== "open" && String(state[key]) !== String(base[key])) said.set(key, state[key]);
  history.replaceState(null, "", said.size ? "#" + said : location.pathname + location.search);
}
function find() {
  const wanted = new Set(state.verdict.map((v) => verdicts.indexOf(v)));
  const host = state.host ? hosts.indexOf(state.host) : -1;
  const text = state.find.trim().toLowerCase();
  found = [];
  for (let i = 0; i < count; i++) {
    if (!wanted.has(columns.verdict[i]) || (state.host && columns.host[i] !== host)) continue;
    if (state.trigger && triggers[columns.trigger[i]] !== state.trigger) continue;
    if (state.from && localDate(columns.down[i]) < state.from) continue;
    if (state.until && localDate(columns.down[i]) > state.until) continue;
    if (text && !restartId(i).toLowerCase().includes(text)) continue;
    found.push(i);
  }
  const name = state.sort.replace("-", ""), sign = state.sort.startsWith("-") ? -1 : 1, values = columns[name];
  found.sort((a, b) => {
    const x = values[a], y = values[b];
    if (x === y) return columns.down[b] - columns.down[a] || a - b;
    return x === null ? 1 : y === null ? -1 : sign * (x - y);
  });
}
function apply() {
  shown = PAGE;
  find();
  showFilters();
  showRows();
}
function showFilters() {
  const options = (select, any, entries, value) => select.replaceChildren(
    make("option", { value: "", textContent: any }), ...entries.map(([key, text]) => make("option", { value: key, textContent: text, selected: key === value })));
  options($("host"), say("filter_host_any"), hosts.map((h) => [h, h]), state.host);
  options($("trigger"), say("filter_trigger_any"), triggers.map((t) => [t, word("trigger_" + t)]), state.trigger);
  const counts = new Map();
  for (const v of columns.verdict) counts.set(v, (counts.get(v) ?? 0) + 1);
  $("verdicts").replaceChildren(...verdicts.flatMap((v, at) => !counts.has(at) ? [] : [make("label", {},
    make("input", { type: "checkbox", value: v, checked: state.verdict.includes(v) }), word("verdict_" + v), " ", make("span", { textContent: number(counts.get(at)) }))]));
  for (const key of ["from", "until", "find"]) if ($(key).value !== state[key]) $(key).value = state[key];
  for (const button of document.querySelectorAll("[data-sort]")) {
    const cell = button.parentElement, name = state.sort.replace("-", "");
    if (button.dataset.sort === name) cell.setAttribute("aria-sort", state.sort.startsWith("-") ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  $("clear").hidden = ["verdict", "host", "trigger", "from", "until", "find"].every((key) => String(state[key]) === String(nothing()[key]));
}
function showRows() {
  $("shown").textContent = say("filter_shown", { n: found.length, all: count });
  const body = document.querySelector("#list tbody");
  const rows = found.slice(0, shown).flatMap((i) => opened.has(i) ? [row(i), detailRow(i)] : [row(i)]);
  if (!found.length) rows.push(make("tr", { role: "row" }, make("td", { colSpan: 8, role: "cell", className: "lead", textContent: say("filter_none") })));
  body.replaceChildren(...rows);
  $("more").hidden = shown >= found.length;
  $("more").textContent = say("more", { n: Math.min(PAGE * 2, found.length - shown) });
}
function row(i) {
  const cell = (className, ...children) => make("td", { className, role: "cell" }, ...children);
  const figure = (name, text) => { const td = cell(`n c-${name}`, text); td.dataset.label = say("column_" + name); return td; };
  const wait = (seconds) => (seconds === null ? "-" : duration(seconds));
  const button = make("button", { type: "button", className: "open" }, make("i", { className: "mark" }), word("verdict_" + verdict(i)));
  button.setAttribute("aria-expanded", opened.has(i));
  const first = cell("c-flush", button);
  if (why(i)) first.append(make("small", { textContent: why(i) }));
  const line = make("tr", { className: `row v-${verdict(i)}`, role: "row" }, first,
    cell("c-host", hosts[columns.host[i]]), cell("when c-down", localTime(columns.down[i])),
    figure("outage", columns.outage[i] === null ? "-" : (columns.rough[i] ? "~" : "") + duration(columns.outage[i])),
    figure("held", number(columns.held[i])), figure("longest", wait(columns.longest[i])), figure("avoidable", wait(columns.avoidable[i])), cell("c-trigger", trigger(i)));
  line.addEventListener("click", () => {
    if (getSelection().toString()) return;
    if (opened.delete(i)) line.nextElementSibling.remove();
    else opened.add(i), line.after(detailRow(i));
    button.setAttribute("aria-expanded", opened.has(i));
  });
  return line;
}
