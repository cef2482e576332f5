"use strict";
// Sorts and filters the tables of a page. Without it, everything is still there to be read.

for (const grid of document.querySelectorAll("[data-table]")) {
  const body = grid.querySelector("tbody");
  const rows = [...body.rows];
  const form = grid.querySelector("form");
  if (rows.length > 1) grid.querySelectorAll("thead th").forEach((head, place) => sortable(head, place));
  if (form) filterable(form);

  function sortable(head, place) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      // Numbers start with the largest, words with the first of the alphabet.
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const now = was === first ? other : first;
      for (const each of grid.querySelectorAll("thead th")) each.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", now);
      const sign = now === "ascending" ? 1 : -1;
      const sorted = rows.map((row) => [key(row.cells[place]), row]);
      // What is empty stays at the end, whichever way the rest is sorted.
      sorted.sort(([a], [b]) => (a === "") - (b === "") || sign * compare(a, b));
      body.append(...sorted.map(([, row]) => row));
    });
  }

  function filterable(form) {
    const search = form.querySelector("[data-search]");
    const choices = [...form.querySelectorAll("[data-facet]")];
    const told = form.querySelector("output");
    const apply = () => {
      const wanted = search.value.trim().toLowerCase();
      let left = 0;
      for (const row of rows) {
        const found = row.textContent.toLowerCase().includes(wanted) && choices.every((choice) =>
          !choice.value || row.cells[choice.dataset.facet].textContent.trim() === choice.value);
        row.hidden = !found;
        left += found;
      }
      told.textContent = `${left} of ${rows.length} rows`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(apply));
  }
}

function key(cell) {
  const given = cell.dataset.key ?? "";
  const text = given === "" ? cell.textContent.trim() : given;
  const value = Number(text);
  return text !== "" && !Number.isNaN(value) ? value : text.toLowerCase();
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1; // numbers before words
}
