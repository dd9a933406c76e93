"use strict";
(() => {
  const table = document.getElementById("cases");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const links = new Map(rows.map((row) => [row, row.querySelector("a")]));
  const search = document.getElementById("search");
  const flag = document.getElementById("flag");
  const status = document.getElementById("status");
  const count = document.getElementById("count");
  const panel = document.getElementById("case");
  const content = document.getElementById("content");
  const caseBar = document.getElementById("case-bar");
  const root = document.documentElement;
  let open = null;

  const visible = () => [...body.rows].filter((row) => !row.hidden);

  // One row takes part in the tab order: the open one, or the first that is visible.
  function setTabStop(row) {
    links.forEach((link) => { link.tabIndex = -1; });
    if (row) links.get(row).tabIndex = 0;
  }

  function fits(row) {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const kinds = row.dataset.kinds.split(" ").filter(Boolean);
    const wanted = flag.value;
    const flagged = wanted === "" || (wanted === "any" ? kinds.length > 0 : wanted === "none" ? kinds.length === 0 : kinds.includes(wanted));
    return flagged && (status.value === "" || row.dataset.status === status.value) && words.every((word) => row.dataset.text.includes(word));
  }

  function filter() {
    rows.forEach((row) => { row.hidden = !fits(row); });
    const shown = visible();
    count.textContent = shown.length === rows.length ? `${rows.length} cases` : `${shown.length} of ${rows.length} cases`;
    setTabStop(shown.includes(open) ? open : shown[0]);
    setNeighbours();
  }

  // Numbers by value, words by letter; what is missing stays at the end in both directions.
  function sort(header, direction) {
    const column = header.cellIndex;
    const number = header.dataset.sort === "number";
    const key = (row) => number ? parseFloat(row.cells[column].dataset.value) : row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const missing = (value) => number ? Number.isNaN(value) : value === "";
    const sign = direction === "descending" ? -1 : 1;
    const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
    const keyed = rows.map((row, index) => ({ row, index, value: key(row) }));
    keyed.sort((a, b) => {
      if (missing(a.value) || missing(b.value)) return missing(a.value) - missing(b.value) || a.index - b.index;
      return sign * (number ? a.value - b.value : order.compare(a.value, b.value)) || a.index - b.index;
    });
    body.append(...keyed.map((item) => item.row));
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", other === header ? direction : "none");
    setNeighbours();
  }

  function setNeighbours() {
    const shown = visible();
    const at = shown.indexOf(open);
    document.getElementById("previous").disabled = at <= 0;
    document.getElementById("next").disabled = at < 0 || at >= shown.length - 1;
    document.getElementById("place").textContent = at < 0 ? "" : `${at + 1} of ${shown.length}`;
  }

  // Only the open case is in the page; the pictures of all others wait in their templates and are not decoded.
  function show(row, scroll) {
    if (!row) return;
    if (open !== row) {
      if (open) links.get(open).removeAttribute("aria-current");
      open = row;
      links.get(row).setAttribute("aria-current", "true");
      content.replaceChildren(document.getElementById(row.dataset.case).content.cloneNode(true));
      caseBar.hidden = false;
      history.replaceState(null, "", `#${row.dataset.case.replace("template-", "case-")}`);
    }
    setTabStop(row);
    setNeighbours();
    row.scrollIntoView({ block: "nearest" });
    if (scroll) panel.scrollIntoView({ block: "start" });
  }

  function step(by) {
    const shown = visible();
    const row = shown[shown.indexOf(open) + by];
    if (row) show(row, false);
  }

  for (const header of table.tHead.rows[0].cells) {
    header.querySelector("button").addEventListener("click", () => {
      // Numbers start with the largest: that is what a reader looks for.
      const first = header.dataset.sort === "number" ? "descending" : "ascending";
      const now = header.getAttribute("aria-sort");
      sort(header, now === first ? (first === "ascending" ? "descending" : "ascending") : first);
    });
  }
  search.addEventListener("input", filter);
  flag.addEventListener("change", filter);
  status.addEventListener("change", filter);
  document.getElementById("reset").addEventListener("click", () => {
    search.value = flag.value = status.value = "";
    filter();
    search.focus();
  });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    event.preventDefault();
    show(row, event.target.closest("a") !== null && event.detail === 0);
    links.get(row).focus({ preventScroll: true });
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const shown = visible();
    const at = shown.indexOf(row);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const target = shown[Math.max(0, Math.min(shown.length - 1, to))];
    links.get(target).focus();
    show(target, false);
  });
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  for (const radio of document.querySelectorAll("input[name=window]")) {
    radio.addEventListener("change", () => { root.dataset.window = radio.value; });
    if (radio.checked) root.dataset.window = radio.value;
  }
  for (const box of document.querySelectorAll("input[data-hides]")) {
    box.addEventListener("change", () => root.classList.toggle(box.dataset.hides, !box.checked));
    root.classList.toggle(box.dataset.hides, !box.checked);
  }
  const named = () => rows.find((row) => `#${row.dataset.case.replace("template-", "case-")}` === location.hash);
  window.addEventListener("hashchange", () => show(named(), true));
  filter();
  show(named() ?? visible()[0], false);
})();
