// How every chart is drawn: the page's own colours, its width, moments in UTC.
/* global uPlot */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "quiet", "line", "accent", "band", "past", "bad"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// Ticks of the time axis: the step from which they are so far apart, how each is written, and what the first of a year, month or day adds.
const day = "\n{DD} {MMM} {YYYY}";
const TICKS = [
  [31_536_000, "{YYYY}", null, null, null, null, null, null, 1],
  [2_419_200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86_400, "{DD} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", day, null, day, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", day, null, day, null, null, null, 1],
];

export function figure(value) {
  if (value === null || value === undefined) return "–";
  return Number(value).toLocaleString("en", {maximumSignificantDigits: Math.abs(value) < 10_000 ? 4 : 6});
}

export function frame(box, about, data) {
  const {quiet, line} = colours();
  const axis = {stroke: quiet, grid: {stroke: line, width: 1}, ticks: {stroke: line, width: 1}, font: "12px system-ui, sans-serif"};
  const width = () => Math.max(200, box.clientWidth);
  const options = {
    width: width(),
    tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
    // Pixels: what is farther off says nothing of the moment under the cursor.
    cursor: {points: {size: 7}, hover: {prox: 12}},
    axes: [about.scales ? axis : {...axis, values: TICKS}, {...axis, size: 56, values: (_, ticks) => ticks.map(figure)}],
    ...about,
  };
  const plot = new uPlot(options, data, box);
  const watch = new ResizeObserver(() => plot.setSize({width: width(), height: options.height}));
  watch.observe(box);
  plot.leave = () => { watch.disconnect(); plot.destroy(); };
  return plot;
}
