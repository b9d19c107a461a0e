// Sorting, filtering and tooltips. Everything is there without them: pictures come whole, and tooltips are titles.
"use strict";

function valueOf(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sortBy(button) {
  const header = button.closest("th");
  const body = header.closest("table").tBodies[0];
  const numbers = header.classList.contains("number");
  const first = numbers ? "descending" : "ascending";
  const second = numbers ? "ascending" : "descending";
  const order = header.getAttribute("aria-sort") === first ? second : first;
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = Array.from(body.rows, (row) => [valueOf(row, header.cellIndex), row]);
  rows.sort((a, b) => sign * compare(a[0], b[0]));
  body.append(...rows.map((pair) => pair[1]));
}

const heads = document.querySelectorAll("th[data-sort]");
for (const head of heads) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  button.addEventListener("click", () => sortBy(button));
  head.replaceChildren(button);
}

// One filter for everything that belongs to a layer: rows, mappings, and marks in pictures.
const filter = document.getElementById("filter");
const matches = document.getElementById("matches");
const rowsOfLayers = Array.from(document.querySelectorAll("tr[data-layer]"));

function applyFilter() {
  const wanted = filter.value.trim().toLowerCase();
  const kept = new Set();
  for (const row of rowsOfLayers) {
    const fits = row.textContent.toLowerCase().includes(wanted);
    if (fits) kept.add(row.dataset.layer);
    row.hidden = !fits;
  }
  for (const mark of document.querySelectorAll("g.mark[data-layer]")) {
    mark.classList.toggle("off", !kept.has(mark.dataset.layer));
  }
  for (const each of document.querySelectorAll("details[data-layers]")) {
    each.hidden = !each.dataset.layers.split(" ").some((layer) => kept.has(layer));
  }
  matches.textContent = wanted ? `${kept.size} of ${rowsOfLayers.length} layers` : "";
}

if (filter) {
  filter.addEventListener("input", applyFilter);
  for (const each of document.querySelectorAll(".tools[hidden]")) each.hidden = false;
}

// A tooltip beside the pointer, with the title of the mark; the same layer lights up in all pictures and in the table.
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true"); // pictures have descriptions, tables have all figures
document.body.append(tip);
let current = null;

function light(layer, on) {
  if (layer === undefined) return;
  for (const each of document.querySelectorAll(`g.mark[data-layer="${layer}"], tr[data-layer="${layer}"]`)) {
    each.classList.toggle("on", on);
  }
}

function wordsOf(mark) {
  const title = mark.querySelector(":scope > title");
  if (title) {
    mark.dataset.words = title.textContent; // taken out, or the browser would show it, too
    title.remove();
  }
  return mark.dataset.words || "";
}

function leave() {
  if (!current) return;
  light(current.dataset.layer, false);
  current = null;
  tip.hidden = true;
}

document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest("g.mark, tr[data-layer]");
  if (mark === current) return;
  leave();
  if (!mark) return;
  current = mark;
  light(mark.dataset.layer, true);
  tip.textContent = mark.matches("g") ? wordsOf(mark) : "";
  tip.hidden = !tip.textContent;
});

document.addEventListener("pointermove", (event) => {
  if (tip.hidden) return;
  const room = 14;
  const right = event.clientX + room + tip.offsetWidth > innerWidth;
  const low = event.clientY + room + tip.offsetHeight > innerHeight;
  const x = right ? Math.max(4, event.clientX - room - tip.offsetWidth) : event.clientX + room;
  const y = low ? Math.max(4, event.clientY - room - tip.offsetHeight) : event.clientY + room;
  tip.style.transform = `translate(${x}px, ${y}px)`;
});
document.addEventListener("pointerleave", leave);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") leave(); });

// A click on a layer's mark opens its mapping.
document.addEventListener("click", (event) => {
  const mark = event.target.closest("g.mark[data-layer]");
  if (!mark || mark.closest("details[data-layers]")) return;
  const found = document.querySelector(`details[data-layers~="${mark.dataset.layer}"]`);
  if (!found) return;
  found.open = true;
  found.scrollIntoView({ block: "center" });
});
