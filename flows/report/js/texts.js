/* Texts and figures, as flows/language.py writes them, and elements. Whatever a log wrote becomes text, never markup.
   page.py joins these files into one function, in the order of its SCRIPTS. */
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const $ = (id) => document.getElementById(id);
const { columns, hosts, verdicts, triggers, reasons } = data;
const count = columns.host.length;
const PAGE = innerWidth < 640 ? 20 : 50;
const MISSING = ["missing", "ineffective"];
root.classList.add("js");

let language = root.lang;
const number = (n) => n.toLocaleString("en-US");
const two = (n) => String(n).padStart(2, "0");
function say(key, figures = {}) {
  let text = data.texts[language]["page." + key];
  if (typeof text === "object") text = text[figures.n === 1 ? "one" : "other"];
  return text.replace(/\{(\w+)\}/g, (_, name) => (typeof figures[name] === "number" ? number(figures[name]) : figures[name]));
}
const word = (key) => data.texts[language]["words." + key];
/* Python rounds a half to the even number, JavaScript up. */
function rounded(value) {
  const floor = Math.floor(value), rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}
function duration(seconds) {
  const whole = rounded(seconds), minutes = rounded(whole / 60), hours = Math.floor(minutes / 60);
  const [second, minute, hour, space] = language === "ja" ? ["秒", "分", "時間", ""] : [" s", " min", " h", " "];
  if (whole < 60) return whole + second;
  if (whole < 600) return Math.floor(whole / 60) + minute + (whole % 60 ? space + (whole % 60) + second : "");
  if (hours === 0) return minutes + minute;
  if (hours < 10) return hours + hour + space + two(minutes % 60) + minute;
  return number(rounded(whole / 3600)) + hour;
}
const localTime = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
const localDate = (seconds) => localTime(seconds).slice(0, 10);
const restartId = (i) =>
  `${hosts[columns.host[i]]}-${new Date((columns.down[i] - columns.zone[i] * 60) * 1000).toISOString().slice(0, 19).replace(/[-:]/g, "")}Z${data.tails[i] ?? ""}`;
const verdict = (i) => verdicts[columns.verdict[i]];
const why = (i) => (columns.why[i] < 0 ? "" : word("why_" + reasons[columns.why[i]]));
const trigger = (i) => word("trigger_" + triggers[columns.trigger[i]]);

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}
