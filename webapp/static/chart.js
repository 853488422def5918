// The picture of a channel: what was observed, what had been forecast for it, what is forecast now, and what was odd.
import {ask} from "./ask.js";
import {colours, figure, frame} from "./drawing.js";

const box = document.getElementById("canvas");
const home = document.getElementById("chart");
const view = document.getElementById("view");
const said = document.getElementById("chart-said");
const moment = (at) => new Date(at * 1e3).toISOString().slice(0, 16).replace("T", " ");
const unit = (told) => (told.unit ? ` ${told.unit}` : "");
let plot = null;
let shown = null;

// Where rows are missing the line breaks: nobody measured what it would cross.
function broken(columns) {
  const [at, ...lines] = columns;
  const steps = at.slice(1).map((moment, n) => moment - at[n]).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] || 0;
  const out = columns.map(() => []);
  at.forEach((moment, n) => {
    if (n && moment - at[n - 1] > 3.5 * usual) [at[n - 1] + usual, ...lines.map(() => null)].forEach((value, m) => out[m].push(value));
    [moment, ...lines.map((line) => line[n])].forEach((value, m) => out[m].push(value));
  });
  return out;
}

const none = (count) => Array.from({length: count}, () => []);
const columns = (told, ...names) => (told ? names.map((name) => told[name]) : none(names.length));

function lines(told) {
  const forecast = columns(told.forecast, "at", "value", "lower", "upper");
  const observed = columns(told.observed, "at", "mean", "low", "high");
  const odd = told.anomalies || [];
  const nearest = (at) => { let best = 0; observed[0].forEach((moment, n) => { if (Math.abs(moment - at) < Math.abs(observed[0][best] - at)) best = n; }); return observed[1][best]; };
  const marks = [odd.map((each) => each.at).reverse(), odd.map((each) => nearest(each.at)).reverse()];
  const parts = [broken(observed), broken(columns(told.past, "at", "value", "lower", "upper")), forecast, marks];
  return uPlot.join(parts.filter((part) => part[0].length), undefined);
}

function series(told) {
  const {ink, accent, band, past, bad} = colours();
  const faint = (colour, share) => `color-mix(in srgb, ${colour} ${share}%, transparent)`;
  const out = [{label: "UTC", value: (_, at) => (at === null ? "–" : moment(at))}];
  const bands = [];
  // A line and the two edges of its band, which the legend tells beside it.
  const add = (line, fill) => {
    const edges = (plot, n, at) => (fill ? ` (${figure(plot.data[n + 1][at])} to ${figure(plot.data[n + 2][at])})` : "");
    const edge = {class: "edge", stroke: "transparent", points: {show: false}};
    out.push({width: 1.5, ...line, value: (plot, number, n, at) => figure(number) + ((number ?? null) === null ? "" : edges(plot, n, at))}, edge, edge);
    if (fill) bands.push({series: [out.length - 1, out.length - 2], fill});
  };
  if (told.observed?.at.length) add({label: told.bucket_s ? "observed, mean" : "observed", stroke: ink}, told.bucket_s && faint(ink, 22));
  if (told.past?.at.length) add({label: "had been forecast", stroke: past, dash: [6, 4]}, faint(past, 16));
  if (told.forecast) add({label: "forecast", stroke: accent, width: 2}, band);
  if (told.anomalies?.length) out.push({label: "anomaly", stroke: bad, width: 2, paths: () => null, points: {show: true, size: 11, fill: "transparent", stroke: bad, width: 2}, value: (_, number) => figure(number)});
  return {out, bands};
}

function sentence(told) {
  const {observed, forecast} = told;
  const ahead = forecast && `Forecast by ${forecast.version} to ${moment(forecast.at.at(-1))}: ${figure(forecast.value.at(-1))}${unit(told)}, in its ${Math.round(100 * forecast.level)} % band ${figure(forecast.lower.at(-1))} to ${figure(forecast.upper.at(-1))}.`;
  if (!told.rows) return `No observations of ${told.channel} are kept here. ${ahead || "No forecast was made yet."}`;
  const [first, last] = told.between.map(moment);
  const range = `${figure(Math.min(...observed.low))} to ${figure(Math.max(...observed.high))}${unit(told)}`;
  const words = [`${told.rows.toLocaleString("en")} observation${told.rows === 1 ? "" : "s"} of ${told.channel} from ${first} to ${last} UTC, ${range}.`];
  if (told.bucket_s) words.push("Each point is the mean of a stretch, in a band from its least to its greatest value.");
  if (told.past.at.length) words.push("Dashed: what had last been forecast for each moment.");
  if (forecast) {
    words.push(ahead);
    if (Date.parse(forecast.data_until) / 1e3 < told.between[1]) words.push("It was made before the newest observations.");
  } else words.push("No forecast was made yet.");
  if (told.anomalies.length) words.push(told.anomalies.length === 1 ? "1 anomaly, circled." : `${told.anomalies.length} anomalies, circled.`);
  return words.join(" ");
}

function table(told) {
  const rows = told.forecast ? told.forecast.at.map((at, n) => [moment(at), "forecast", ...["value", "lower", "upper"].map((name) => told.forecast[name][n])]) : [];
  const newest = (told.observed?.at || []).map((at, n) => [moment(at), "observed", ...["mean", "low", "high"].map((name) => told.observed[name][n])]).slice(-100).reverse();
  const out = document.createElement("table");
  const line = (cells, kind) => { const row = out.insertRow(); for (const cell of cells) { const made = document.createElement(kind); made.textContent = typeof cell === "string" ? cell : figure(cell); if (typeof cell !== "string") made.className = "n"; row.append(made); } };
  line(["At (UTC)", "What", "Value", "From", "To"], "th");
  [...rows, ...newest].forEach((cells) => line(cells, "td"));
  return out;
}

function draw() {
  plot?.leave();
  plot = null;
  if (!shown.observed && !shown.forecast) return;
  const {out, bands} = series(shown);
  plot = frame(box, {series: out, bands, height: Math.min(380, Math.max(260, innerHeight * 0.42)), legend: {live: true}}, lines(shown));
}

async function show() {
  const chosen = new FormData(view).get("span") || home.dataset.span;
  const answer = await ask(home.dataset.source + (chosen ? `&span=${chosen}` : ""));
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  shown = told;
  view.querySelector(`[value="${told.span}"]`).checked = true;
  draw();
  said.textContent = sentence(told);
  document.getElementById("numbers").replaceChildren(table(told));
  home.dataset.drawn = told.span;
}

const shows = () => show().catch((error) => { said.textContent = `This could not be drawn: ${error.message}`; });
view.addEventListener("change", (event) => {
  if (event.target.name === "channel") return view.requestSubmit();
  return shows();
});
addEventListener("theme", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
// By keyboard: along the line, point by point.
box.addEventListener("keydown", (event) => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!step || !plot) return;
  event.preventDefault();
  const at = Math.min(plot.data[0].length - 1, Math.max(0, (plot.cursor.idx ?? plot.data[0].length) + step));
  plot.setCursor({left: plot.valToPos(plot.data[0][at], "x"), top: 10});
});
shows();
