// Links to the sections, tables that sort, and figures and tables that can be taken along. Nothing is fetched.
const told = document.querySelector(".told");
const say = (text) => { told.textContent = text; setTimeout(() => { told.textContent = ""; }, 4000); };

const nav = document.querySelector("nav[hidden]");
if (nav) {
  for (const heading of document.querySelectorAll("main h2[id]")) {
    const link = document.createElement("a");
    link.href = `#${heading.id}`;
    link.textContent = heading.firstChild.textContent.trim();
    nav.append(link, " ");
  }
  nav.hidden = false;
}

const keep = (name, type, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`${name} saved`);
};
const copy = async (what, text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`${what} copied`);
};
const tools = (name, actions) => {
  const bar = document.createElement("p");
  bar.className = "tools";
  for (const [label, act] of actions) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-label", `${label}: ${name}`);
    button.addEventListener("click", act);
    bar.append(button);
  }
  return bar;
};

// A figure taken out of the page keeps the looks that the page's styles give it.
const LOOKS = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity",
  "visibility", "font-size", "font-weight", "font-style", "font-family", "paint-order"];
const alone = (svg) => {
  const made = svg.cloneNode(true);
  const copies = [made, ...made.querySelectorAll("*")];
  [svg, ...svg.querySelectorAll("*")].forEach((one, place) => {
    const looks = getComputedStyle(one);
    copies[place].setAttribute("style", LOOKS.map((name) => `${name}:${looks.getPropertyValue(name)}`).join(";"));
  });
  const box = svg.viewBox.baseVal;
  made.setAttribute("xmlns", "http:/" + "/www.w3.org/2000/svg");
  made.setAttribute("width", box.width);
  made.setAttribute("height", box.height);
  made.removeAttribute("data-ecdf");
  made.style.background = getComputedStyle(document.body).backgroundColor;
  return new XMLSerializer().serializeToString(made);
};
const page = document.documentElement.dataset.name;
for (const figure of document.querySelectorAll("figure[id]")) {
  const svg = figure.querySelector(":scope > svg"), csv = figure.querySelector(".csv").textContent;
  const caption = figure.querySelector("figcaption").firstChild.textContent.trim(), name = `${page}-${figure.id}`;
  figure.append(tools(caption, [
    ["Copy SVG", () => copy("SVG", alone(svg))],
    ["Save SVG", () => keep(`${name}.svg`, "image/svg+xml", alone(svg))],
    ["Copy CSV", () => copy("CSV", csv)],
    ["Save CSV", () => keep(`${name}.csv`, "text/csv", csv)],
  ]));
}

const shown = (cell) => {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll("sup, small, svg").forEach((one) => one.remove());
  return copy.textContent.trim();
};
const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const tableCsv = (table) => [...table.rows]
  .map((row) => [...row.cells].map((cell) => quoted(/^\s*-?[\d.]/.test(cell.title) ? cell.title : shown(cell))).join(","))
  .join("\n");
// The figure with all its digits where there is one, else what is shown; without a figure it comes last.
const value = (cell) => {
  const text = (/\d/.test(cell.title) && cell.classList.contains("number") && !cell.querySelector("sup") ? cell.title : shown(cell))
    .replace(/[\u202f\u00a0\s≥≤±]/g, "");
  const figure = parseFloat(text);
  return cell.classList.contains("number") ? (Number.isNaN(figure) ? Infinity : figure) : text.toLowerCase();
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b || 0 : String(a).localeCompare(String(b), "en", { numeric: true }));
for (const table of document.querySelectorAll("table[data-name]")) {
  const body = table.tBodies[0], original = [...body.rows], caption = table.parentElement.getAttribute("aria-label");
  table.parentElement.after(tools(caption, [
    ["Copy CSV", () => copy("CSV", tableCsv(table))],
    ["Save CSV", () => keep(`${page}-${table.dataset.name}.csv`, "text/csv", tableCsv(table))],
  ]));
  if (original.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] ?? "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      let rows = original;
      if (next !== "none") {
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1, last = (a, b) => (a === Infinity) - (b === Infinity);
        const keys = new Map(original.map((row) => [row, value(row.cells[column])]));
        rows = [...original].sort((a, b) => last(keys.get(a), keys.get(b)) || sign * compare(keys.get(a), keys.get(b)));
      }
      body.append(...rows);
      say(next === "none" ? "in the page's order" : `sorted, ${next}`);
    });
  });
}
