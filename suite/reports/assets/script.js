"use strict";
// Sorts and filters the tables of a page. Without it all content is readable.

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
      const previous = head.getAttribute("aria-sort");
      // Numbers start with the largest, words with the first of the alphabet.
      const numeric = head.classList.contains("number");
      const first = numeric ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = previous === first ? other : first;
      for (const sibling of grid.querySelectorAll("thead th")) sibling.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const sorted = rows.map((row) => [key(row.cells[place], numeric), row]);
      // Empty fields stay at the end in either order.
      sorted.sort(([a], [b]) => (a === "") - (b === "") || sign * compare(a, b));
      body.append(...sorted.map(([, row]) => row));
    });
  }

  function filterable(form) {
    const search = form.querySelector("[data-search]");
    const choices = [...form.querySelectorAll("[data-column]")];
    const status = form.querySelector("output");
    const apply = () => {
      const text = search.value.trim().toLowerCase();
      let left = 0;
      for (const row of rows) {
        const matches = row.textContent.toLowerCase().includes(text) && choices.every((choice) =>
          !choice.value || row.cells[choice.dataset.column].textContent.trim() === choice.value);
        row.hidden = !matches;
        left += matches;
      }
      status.textContent = `${left} of ${rows.length} rows`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(apply));
  }
}

// In a column of numbers, words say why there is no number: they sort like empty fields.
function key(cell, numeric) {
  const given = cell.dataset.key ?? "";
  if (numeric) return given === "" ? "" : Number(given);
  return (given === "" ? cell.textContent.trim() : given).toLowerCase();
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
