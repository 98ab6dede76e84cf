"use strict";

const PLOT_STYLE = "--plot-background: var(--panel); font: 11px system-ui, sans-serif; overflow: visible;";
const COLOURS = [0, 1, 2, 3, 4, 5].map((n) => `var(--c${n})`);

/** Draw into an element, now and whenever its width changes. */
function keepDrawn(holder, draw) {
  let width = 0;
  new ResizeObserver(() => {
    requestAnimationFrame(() => {
      const now = Math.floor(holder.clientWidth);
      if (now === width || now === 0) return;
      width = now;
      holder.replaceChildren(...draw(width));
    });
  }).observe(holder);
}

function plot(label, options) {
  const drawn = Plot.plot({style: PLOT_STYLE, ariaLabel: label, ...options});
  drawn.setAttribute("role", "img");
  return drawn;
}

const format = (value) => Number(value.toPrecision(4)).toString();
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** The boxes of all runs in one norm over their curves, on one axis. */
function drawNorm({norm, series}, names, width) {
  const colour = {domain: names, range: names.map((_, n) => COLOURS[n % COLOURS.length])};
  const end = Math.max(...series.map((s) => Math.max(s.eps.at(-1), s.box[4])));
  const x = {domain: [0, end > 0 ? end : 1], label: null};
  const shared = {width, marginLeft: 44, marginRight: 14, color: colour};
  const boxes = plot(`Box plot of the scores for p = ${norm}`, {
    ...shared, x: {...x, axis: null}, y: {axis: null, domain: names, padding: 0.35},
    height: 24 + 30 * names.length, marginTop: 8, marginBottom: 8,
    marks: [
      Plot.ruleY(series, {y: "run", x1: (s) => s.box[0], x2: (s) => s.box[4], stroke: "run"}),
      Plot.barX(series, {y: "run", x1: (s) => s.box[1], x2: (s) => s.box[3], fill: "run", fillOpacity: 0.3, stroke: "run"}),
      Plot.tickX(series, {y: "run", x: (s) => s.box[2], stroke: "run", strokeWidth: 2.5}),
      Plot.ruleY(series, {y: "run", x1: (s) => s.mean[0], x2: (s) => s.mean[2], stroke: "currentColor", strokeWidth: 1.5}),
      Plot.dot(series, {y: "run", x: (s) => s.mean[1], fill: "currentColor", r: 3.5}),
    ],
  });
  const points = series.flatMap((s) =>
    s.eps.map((eps, n) => ({run: s.run, eps, share: s.share[n], upper: s.upper?.[n]})));
  const bands = points.filter((p) => p.upper !== undefined);
  const said = bands.length ? "% of images above eps; dashed: upper ends" : "% of images with a score above eps";
  const named = bands.length ? "Share of images with ends above eps" : "Share of images with a score above eps";
  const above = (p) => p.upper === undefined ? percent(p.share) : `${percent(p.share)} to ${percent(p.upper)}`;
  const step = {x: "eps", z: "run", curve: "step-after"};
  const curves = plot(`${named}, for p = ${norm}`, {
    ...shared, x: {...x, label: "eps", labelAnchor: "center"},
    y: {domain: [0, 100], percent: true, label: said, grid: true, ticks: 5},
    height: 240, marginBottom: 36,
    marks: [
      Plot.ruleY([0]),
      Plot.areaY(bands, {...step, y1: "share", y2: "upper", fill: "run", fillOpacity: 0.18}),
      Plot.line(bands, {...step, y: "upper", stroke: "run", strokeWidth: 1.5, strokeDasharray: "5 3"}),
      Plot.line(points, {...step, y: "share", stroke: "run", strokeWidth: 2}),
      Plot.ruleX(points, Plot.pointerX({x: "eps", py: "share", stroke: "currentColor", strokeOpacity: 0.4})),
      Plot.tip(points, Plot.pointerX({
        x: "eps", y: "share",
        title: (p) => `${names.length > 1 ? p.run + "\n" : ""}${above(p)} above ${format(p.eps)}`,
      })),
    ],
  });
  return [boxes, curves];
}

/** A row's batch maxima, the law fitted to them and its end point. */
function drawFit(fit, width) {
  const [first, last] = fit.edges;
  const step = (last - first) / fit.counts.length;
  const bars = fit.counts.map((count, n) => ({from: first + n * step, to: first + (n + 1) * step, count}));
  const [line, height] = fit.density ?? [[], []];
  const left = Math.min(first, ...line);
  const data = Math.max(last, fit.location);
  const [low, high] = fit.interval;
  // An interval may reach many times as far as the data, which must stay readable.
  const right = Math.min(Math.max(data, high ?? data), 2 * data - left);
  const band = low === null || high === null ? [] : [{low, high: Math.min(high, right)}];
  return [plot("Histogram of the batch maxima with the fitted density and its end point", {
    width, height: 210, marginLeft: 34, marginRight: 14, marginBottom: 36,
    x: {domain: [left, right], label: "batch maxima of the gradient norm", labelAnchor: "center", ticks: 5},
    y: {label: "batches", grid: true, ticks: 4},
    marks: [
      Plot.rectX(band, {x1: "low", x2: "high", fill: "var(--mark)", fillOpacity: 0.13}),
      Plot.rectY(bars, {x1: "from", x2: "to", y: "count", fill: "var(--c0)", fillOpacity: 0.4, inset: 0.5}),
      Plot.line(line.map((x, n) => [x, height[n]]), {stroke: "var(--c0)", strokeWidth: 2}),
      Plot.ruleX([fit.location], {stroke: "var(--mark)", strokeWidth: 2}),
      Plot.ruleY([0]),
    ],
  })];
}

/** A row's batch maxima against the quantiles of the law fitted to them. */
function drawQuantiles([fitted, seen], width) {
  const ends = [Math.min(fitted[0], seen[0]), Math.max(fitted.at(-1), seen.at(-1))];
  return [plot("Batch maxima against the quantiles of the fitted law", {
    width, height: 210, marginLeft: 48, marginRight: 14, marginBottom: 36,
    x: {label: "quantile of the fitted law", labelAnchor: "center", ticks: 5, domain: ends},
    y: {label: "batch maximum", grid: true, ticks: 5, domain: ends},
    marks: [
      Plot.line([[ends[0], ends[0]], [ends[1], ends[1]]], {stroke: "currentColor", strokeDasharray: "4 3", strokeOpacity: 0.6}),
      Plot.dot(fitted.map((x, n) => [x, seen[n]]), {fill: "var(--c0)", r: 2.5, fillOpacity: 0.8}),
    ],
  })];
}

/** What a search had found after so many gradients. */
function drawSearch({gradients, steepest, at_image}, width) {
  return [plot("The steepest place seen, after so many gradients", {
    width, height: 210, marginLeft: 48, marginRight: 14, marginBottom: 36,
    x: {type: "log", label: "gradients", labelAnchor: "center", ticks: 5, tickFormat: "~s"},
    y: {label: "steepest seen", grid: true, ticks: 5, zero: true},
    marks: [
      Plot.ruleY([at_image], {stroke: "currentColor", strokeDasharray: "4 3", strokeOpacity: 0.6}),
      Plot.line(gradients.map((n, k) => [n, steepest[k]]), {stroke: "var(--c0)", strokeWidth: 2, curve: "step-after"}),
    ],
  })];
}
