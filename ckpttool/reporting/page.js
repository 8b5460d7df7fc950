
function opened(element) {
  for (let each = element; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
}
function follow() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) { opened(target); target.scrollIntoView({ block: "nearest" }); }
}
addEventListener("hashchange", follow);
follow();
const scopes = [...document.querySelectorAll("details.scope")];
for (const button of document.querySelectorAll("button[data-fold]"))
  button.addEventListener("click", () => scopes.forEach(scope => { scope.open = button.dataset.fold === "open"; }));
document.getElementById("find")?.addEventListener("input", event => {
  const wanted = event.target.value;
  for (const scope of scopes) {
    const names = [...scope.querySelectorAll("code")].map(code => code.title || code.textContent);
    scope.hidden = wanted !== "" && !names.some(name => name.includes(wanted));
    if (wanted !== "" && !scope.hidden) scope.open = true;
  }
});
