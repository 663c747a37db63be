// What pages that open from disk share: nodes, what the browser keeps, CSV files out and in, messages.

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

function storage(prefix) {
  try {
    localStorage.setItem(`${prefix}try`, "1");
    localStorage.removeItem(`${prefix}try`);
    return { get: (k) => localStorage.getItem(prefix + k), set: (k, v) => localStorage.setItem(prefix + k, v), lasting: true };
  } catch (_) {
    // Some browsers keep nothing for pages from disk, and say so by throwing.
    const memory = {};
    return { get: (k) => memory[k] ?? null, set: (k, v) => { memory[k] = v; }, lasting: false };
  }
}

function toCsv(columns, rows) {
  const quote = (v) => (/[",\r\n;]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v);
  const lines = rows.map((row) => columns.map((name) => quote(String(row[name] ?? ""))).join(","));
  return `${[columns.join(","), ...lines].join("\r\n")}\r\n`;
}

function fromCsv(text) {
  const rows = [[]];
  let cell = "", quoted = false;
  for (let n = 0; n < text.length; n += 1) {
    const c = text[n];
    if (quoted) {
      if (c === '"' && text[n + 1] === '"') { cell += '"'; n += 1; }
      else if (c === '"') quoted = false;
      else cell += c;
    } else if (c === '"') quoted = true;
    else if (c === ",") { rows.at(-1).push(cell); cell = ""; }
    else if (c === "\n") { rows.at(-1).push(cell.replace(/\r$/, "")); cell = ""; rows.push([]); }
    else cell += c;
  }
  if (cell || rows.at(-1).length) rows.at(-1).push(cell);
  const [columns, ...lines] = rows.filter((r) => r.length > 1);
  return { columns: columns || [], rows: lines.map((line) => Object.fromEntries(columns.map((name, n) => [name, line[n] ?? ""]))) };
}

async function readCsv(file) { return fromCsv((await file.text()).replace(/^\ufeff/, "")); }

function download(name, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

function fileName(words) { return words.replace(/[^\w.-]+/g, "_"); }

function tell(text) {
  $("message").textContent = text;
  $("message").hidden = false;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { $("message").hidden = true; }, 4500);
}

// The buttons of the header, and the keys: `onKey(key, event)` says whether it took one.
function listen(save, openFile, onKey, isUnsaved) {
  $("storage-warning").hidden = store.lasting;
  $("save").addEventListener("click", save);
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", (event) => { if (event.target.files[0]) openFile(event.target.files[0]); event.target.value = ""; });
  $("help").addEventListener("click", () => $("help-dialog").showModal());
  window.addEventListener("beforeunload", (event) => { if (isUnsaved() && !store.lasting) event.preventDefault(); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (["TEXTAREA", "INPUT", "SELECT"].includes(event.target.tagName)) {
      if (event.key === "Escape") { event.target.blur(); event.preventDefault(); }
      return;
    }
    if (event.key === "s") save();
    else if (event.key === "?") $("help-dialog").showModal();
    else if (!onKey(event.key, event)) return;
    event.preventDefault();
  });
}
