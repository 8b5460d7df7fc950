
function choose(key) {
  for (const row of document.querySelectorAll("#tried tbody tr")) row.classList.toggle("chosen", row.id === "row-" + key);
  document.getElementById("row-" + key)?.scrollIntoView({ block: "nearest" });
}
for (const point of document.querySelectorAll(".point")) {
  point.addEventListener("click", () => choose(point.dataset.key));
  point.addEventListener("keydown", event => { if (event.key === "Enter") choose(point.dataset.key); });
}
