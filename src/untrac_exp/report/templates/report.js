"use strict";
// Sort a table by clicking on a column heading; click again to reverse. Empty cells stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const text = heading.dataset.kind === "text";
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const down = before ? before === "ascending" : !text;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        return text ? cell.textContent.trim() : cell.dataset.value;
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = text ? x.localeCompare(y) : Number(x) - Number(y);
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
// Select a test set; without JavaScript all of them are shown.
const chooser = document.getElementById("chooser");
if (chooser) {
  const buttons = [...chooser.querySelectorAll("button")];
  const choose = (wanted) => {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.choose === wanted));
    }
    for (const part of document.querySelectorAll("[data-testset]")) {
      part.classList.toggle("hidden", wanted !== "all" && part.dataset.testset !== wanted);
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button.dataset.choose));
  }
  chooser.hidden = false;
}
// Select the methods shown in the tables: columns of the rankings, rows of the agreement.
{
  const columns = document.getElementById("columns");
  const headings = [...document.querySelectorAll("th[data-method]")];
  const methods = [...new Set(headings.map((heading) => heading.dataset.method))];
  const show = (method, shown) => {
    for (const part of document.querySelectorAll("[data-method]")) {
      if (part.dataset.method !== method) continue;
      if (part.tagName === "TR") part.classList.toggle("unpicked", !shown);
      else {
        for (const row of part.closest("table").rows) {
          row.cells[part.cellIndex].classList.toggle("unpicked", !shown);
        }
      }
    }
  };
  for (const method of methods) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => show(method, box.checked));
    label.append(box, ` ${method}`);
    columns.querySelector("form").append(label);
  }
  columns.hidden = methods.length < 3;
}
// Theme: light, dark, or the system setting.
{
  const button = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  const apply = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    apply(themes[(themes.indexOf(now) + 1) % themes.length]);
  });
  button.hidden = false;
}
