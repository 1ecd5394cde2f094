"use strict";
// Two comforts; without script the page shows everything, sorted by mean CCC.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const name = head.querySelector(".name");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...name.childNodes);
    name.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const rising = was ? was === "descending" : column === 0 || head.hasAttribute("data-low");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].dataset.value;
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // no number: last either way
        const order = column === 0 ? x.localeCompare(y) : x - y;
        return rising ? order : -order;
      });
      body.append(...rows);
    });
  });
}
for (const item of document.querySelectorAll(".legend.lines [data-line]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "true");
  button.append(...item.childNodes);
  item.append(button);
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shown));
    for (const line of document.querySelectorAll(".line-" + item.dataset.line)) line.toggleAttribute("hidden", !shown);
  });
}
