
const root = document.documentElement, asked = matchMedia("(prefers-color-scheme: dark)");
document.getElementById("scheme").addEventListener("click", () => {
  const dark = (root.style.colorScheme || (asked.matches ? "dark" : "light")) === "dark";
  root.style.colorScheme = dark ? "light" : "dark";
});
function sortedBy(row, column) {
  const cell = row.cells[column], number = parseFloat(cell.dataset.value ?? cell.textContent);
  return cell.classList.contains("number") ? (isNaN(number) ? -Infinity : number) : cell.textContent;
}
for (const table of document.querySelectorAll("table.sortable"))
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const up = head.ariaSort === "descending" || (!head.ariaSort && !head.classList.contains("number")) ? 1 : -1;
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map(row => [sortedBy(row, column), row]);
    rows.sort(([a], [b]) => up * (a > b ? 1 : a < b ? -1 : 0));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }));
for (const field of document.querySelectorAll("input[type=search][data-rows]"))
  field.addEventListener("input", () => {
    for (const row of document.querySelectorAll("#" + CSS.escape(field.dataset.rows) + " tbody tr"))
      row.hidden = !row.cells[0].textContent.includes(field.value);
  });
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.title = button.dataset.copy;
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(button.dataset.copy); button.textContent = "copied"; }
    catch { button.replaceWith(Object.assign(document.createElement("code"), { textContent: button.dataset.copy })); }
  });
}
