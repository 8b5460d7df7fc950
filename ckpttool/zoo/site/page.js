
const list = document.getElementById("entries"), cards = [...list.children];
const find = document.getElementById("find"), sort = document.getElementById("sort");
const facets = [...document.querySelectorAll("select[data-facet]")];
const lines = text => text.split("\n");
for (const card of cards) {
  card.words = card.dataset.words.toLowerCase();
  card.metrics = new Map(lines(card.dataset.metrics).map(line => line.split("\t")));
}
function shown(card) {
  return find.value.toLowerCase().split(/\s+/).every(word => card.words.includes(word))
    && facets.every(each => !each.value || lines(card.dataset[each.dataset.facet]).includes(each.value));
}
function choose() {
  let count = 0;
  for (const card of cards) count += !(card.hidden = !shown(card));
  document.getElementById("count").textContent = count === cards.length ? "" : `${count} of ${cards.length}`;
}
function keyOf(card, field) {
  if (field.startsWith("metric ")) return parseFloat(card.metrics.get(field.slice(7)));
  return field === "parameters" ? Number(card.dataset.parameters) : card.dataset[field];
}
function order() {
  const down = sort.value.startsWith("-") ? -1 : 1, field = sort.value.replace(/^-/, "");
  const keyed = cards.map((card, at) => [keyOf(card, field), at, card]);
  keyed.sort(([a, i], [b, j]) => {
    const missing = Number.isNaN(a) - Number.isNaN(b);  // entries without the metric come last
    return missing || (a < b ? -down : a > b ? down : i - j);
  });
  list.append(...keyed.map(([, , card]) => card));
}
document.getElementById("choose").addEventListener("submit", event => event.preventDefault());
find.addEventListener("input", choose);
for (const facet of facets) facet.addEventListener("change", choose);
sort.addEventListener("change", order);
choose();
order();
