"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

for (const holder of document.querySelectorAll("[data-norm].drawing")) {
  const norm = DATA.norms[holder.dataset.norm];
  keepDrawn(holder, (width) => drawNorm(norm, DATA.runs, width));
}

const body = document.querySelector("#table tbody");
const rows = [...body.rows].map((line, n) => ({
  line, drawn: DATA.rows[n], details: null, text: line.textContent.toLowerCase(),
  open: line.querySelector(".open"),
}));

/** The picture of a row, if the page has one. */
function picture(row, alt) {
  const source = DATA.pictures[row.line.dataset.id];
  if (!source) return [];
  return [settled(element("img", {src: source, alt, decoding: "async"}))];
}

/** An image whose pixels are shown as they are, where it has few. */
function settled(image) {
  image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 64));
  return image;
}

for (const row of rows) row.open.querySelector(".thumb").append(...picture(row, ""));

// Sorting: by what a cell holds as a number, else by its words; what is missing stands last.
const collator = new Intl.Collator(undefined, {numeric: true});

function sortBy(head) {
  const falls = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const place = head.cellIndex;
  const keyed = rows.map((row) => {
    const cell = row.line.cells[place];
    const text = cell.textContent.trim();
    const number = cell.dataset.value;
    const missing = number === undefined ? text === "" : number === "";
    return {row, missing, key: number === undefined ? text : Number(number)};
  });
  const sign = falls ? -1 : 1;
  keyed.sort((a, b) => a.missing - b.missing || (a.missing ? 0 :
    sign * (typeof a.key === "number" ? a.key - b.key : collator.compare(a.key, b.key))));
  body.append(...keyed.flatMap(({row}) => row.details ? [row.line, row.details] : [row.line]));
}

for (const head of document.querySelectorAll("#table thead th")) {
  head.querySelector("button").addEventListener("click", () => sortBy(head));
}

// Filters: every word of the search, and every choice, must fit.
const filters = document.getElementById("filters");

function filter() {
  const {search, ...chosen} = Object.fromEntries(new FormData(filters));
  const words = search.toLowerCase().split(/\s+/);
  let shown = 0;
  for (const row of rows) {
    const fits = words.every((word) => row.text.includes(word)) &&
      Object.entries(chosen).every(([name, value]) =>
        value === "" || (name === "flag" ? row.line.dataset.flag.split(" ").includes(value) : row.line.dataset[name] === value));
    row.line.hidden = !fits;
    if (row.details) row.details.hidden = !fits;
    shown += fits;
  }
  document.getElementById("count").textContent =
    shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
}

filters.addEventListener("input", filter);
filters.addEventListener("change", filter); // an assistive program may set a choice without "input"
filters.addEventListener("submit", (event) => event.preventDefault());
// A browser keeps what was typed when a page is loaded again.
if ([...new FormData(filters).values()].some((value) => value !== "")) filter();

// Details: made when a row is opened, for most never are.
function figure(caption, draw) {
  const holder = element("div", {className: "drawn"});
  keepDrawn(holder, draw);
  return element("figure", {}, holder, element("figcaption", {textContent: caption}));
}

/** The nearest flip of a row beside the picture, and what changed. */
function flipped(flip) {
  const shown = [
    ["picture", "As the network sees it."],
    ["flip", `The nearest flip found, at a distance of ${flip.distance} (p = ${flip.norm}).`],
    ["difference", `What changed, ${flip.factor} times, around grey; the strongest changes are cut off.`],
  ].filter(([name]) => flip[name]);
  const pictures = shown.map(([name, said]) => element("figure", {},
    settled(element("img", {src: flip[name], alt: said, decoding: "async"})),
    element("figcaption", {textContent: said})));
  const {predicted, target} = flip;
  return element("div", {className: "flip"},
    element("p", {}, element("b", {textContent: `${predicted} → ${target}`}),
      `: at the flip the network gives ${target} at least as much as ${predicted}. A third class may have more still.`),
    element("div", {className: "pictures"}, ...pictures));
}

function figures({fit, search, flip}) {
  const drawn = flip ? [flipped(flip)] : [];
  if (fit) {
    const law = fit.density ? "the fitted density (line), " : "no law was fitted; ";
    const end = fit.interval[1] === null ? "the end point (red)" : "the end point (red) and its 95 % interval (band)";
    drawn.push(figure(`The largest gradient norm of each batch (bars), ${law}${end}. Score = margin / end point.`,
      (width) => drawFit(fit, width)));
  }
  if (fit?.quantiles) {
    drawn.push(figure("Points along the dashed line: the maxima follow the fitted law.",
      (width) => drawQuantiles(fit.quantiles, width)));
  }
  if (search) {
    drawn.push(figure("The steepest place that the search had seen after so many gradients; dashed, the gradient norm at the picture.",
      (width) => drawSearch(search, width)));
  }
  return drawn;
}

function details(row) {
  const words = [row.line.dataset.status, ...row.line.dataset.flag.split(" ")].filter((word) => DATA.words[word]);
  const meanings = words.map((word) => element("p", {},
    element("b", {textContent: word}), `: ${DATA.words[word]}`));
  const facts = row.drawn.facts.flatMap(([name, value]) =>
    [element("dt", {textContent: name}), element("dd", {textContent: value})]);
  const cell = element("td", {colSpan: row.line.cells.length},
    element("div", {className: "meanings"}, ...meanings),
    element("div", {className: "detail"},
      element("div", {}, ...picture(row, row.open.textContent), element("dl", {}, ...facts)),
      ...figures(row.drawn)));
  return element("tr", {className: "details"}, cell);
}

function toggle(row) {
  if (row.details) {
    row.details.remove();
    row.details = null;
  } else {
    row.details = details(row);
    row.line.after(row.details);
  }
  row.open.setAttribute("aria-expanded", String(row.details !== null));
}

for (const row of rows) row.open.addEventListener("click", () => toggle(row));
