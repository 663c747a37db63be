// Answers of a reviewer: what both review pages share.

const JUDGEMENTS = GALLERY.kinds.filter((kind) => kind.is_judgement);
const COLUMNS = ["finding_id", "reviewer", "answer", "note", "curation", "seen", "answered_at", "value"];
const AGAIN = "look again";
const entries = GALLERY.entries;
const byId = new Map(entries.map((e) => [e.id, e]));
const store = storage(`petar-review:${GALLERY.curation}:`);
let answers = JSON.parse(store.get("answers") || "{}");
// Corrections by a click, each a line of its own; an empty value takes back the earlier ones of that finding and kind.
let corrections = JSON.parse(store.get("corrections") || "[]");
let reviewer = store.get("reviewer") || "";
let unsaved = store.get("unsaved") === "yes";
let pending = null;

// The judgements that there are of a finding, or of a proposal.
function kindsOf(entry) { return JUDGEMENTS.filter((kind) => kind.of.includes(entry.of)); }

function judgementFor(entry, key) { return kindsOf(entry).find((kind) => kind.key === key.toLowerCase())?.name; }

// What a finding became; uptake that the text calls normal for its organ is no lesion, though it has a contour.
function kindOf(entry) { return entry.outcome === "lesion" && entry.physiologic ? "physiologic uptake" : entry.outcome; }

function outcomeChip(entry) {
  const kind = kindOf(entry);
  return make("span", { class: `chip ${kind === "lesion" ? "lesion" : "reject"}` }, kind);
}

// An answer belongs to a finding as it was seen: its contour and numbers, and the fields where the text was called wrong.
function isOf(entry, said) {
  return said.seen === entry.seen || (said.answer !== "wrong text" && said.seen.split("-")[0] === entry.seen.split("-")[0]);
}

function answerOf(id) { return answers[id] && isOf(byId.get(id), answers[id]) ? answers[id].answer : ""; }

// What was said of the finding as it was, while nobody has answered to it as it is.
function earlierOf(entry) {
  const mine = answers[entry.id];
  if (answerOf(entry.id)) return [];
  return [...entry.earlier.filter((e) => e.reviewer !== mine?.reviewer), ...(mine ? [mine] : [])];
}

// Whether an answer was taken up: one to the finding as it is goes before, then the later one.
function take(id, said) {
  const mine = answers[id], entry = byId.get(id);
  if (mine && (isOf(entry, mine) === isOf(entry, said) ? mine.answered_at >= said.answered_at : isOf(entry, mine))) return false;
  answers[id] = said;
  return true;
}

// Answers that this browser kept for galleries of earlier curations, of findings that are in this one too.
function takeUpEarlier() {
  if (!store.lasting) return;
  for (const key of Object.keys(localStorage)) {
    const curation = key.match(/^petar-review:(.+):answers$/)?.[1];
    if (!curation || curation === GALLERY.curation) continue;
    const theirs = storage(`petar-review:${curation}:`);
    let taken = false;
    for (const [id, said] of Object.entries(JSON.parse(theirs.get("answers")))) {
      if (byId.has(id) && said.seen) taken = take(id, said) || taken;
    }
    if (theirs.get("unsaved") === "yes") {
      const more = JSON.parse(theirs.get("corrections") || "[]").filter((one) => !corrections.some((c) => c.answered_at === one.answered_at));
      corrections.push(...more);
      taken = taken || more.length > 0;
    }
    if (!taken) continue;
    if (theirs.get("unsaved") === "yes") { unsaved = true; theirs.set("unsaved", "no"); }
    reviewer = reviewer || theirs.get("reviewer") || "";
  }
  keep();
}

function keep() {
  store.set("answers", JSON.stringify(answers));
  store.set("corrections", JSON.stringify(corrections));
  store.set("unsaved", unsaved ? "yes" : "no");
  showProgress();
}

function answer(entry, value) {
  if (!reviewer) { pending = () => answer(entry, value); askWho(); return; }
  const written = $("note")?.value.trim() || (answerOf(entry.id) && answers[entry.id].note) || "";
  answers[entry.id] = { answer: value, value: value === "physiologic" ? entry.value || "" : "", note: written, reviewer, answered_at: new Date().toISOString(), seen: entry.seen, curation: GALLERY.curation };
  unsaved = true;
  keep();
  for (const button of document.querySelectorAll("#answers button")) button.setAttribute("aria-pressed", String(button.dataset.answer === value));
  const at = shown.indexOf(entry);
  const next = shown.slice(at + 1).find((e) => !answerOf(e.id));
  if (next) setTimeout(() => { if (current() === entry && document.activeElement !== $("note")) go(next.id); }, 120);
  else tell(shown.every((e) => answerOf(e.id)) ? "all answered: save your answers (s)" : "the rest below is answered");
}

// The corrections of a finding that stand: what was taken back later is gone.
function correctionsOf(id) {
  const of = corrections.filter((c) => c.finding_id === id);
  return of.filter((c, n) => c.value && !of.some((later, m) => m > n && later.answer === c.answer && (!later.value || c.answer === "candidate")));
}

function correct(id, kind, value) {
  if (!reviewer) { pending = () => correct(id, kind, value); askWho(); return; }
  corrections.push({ finding_id: id, answer: kind, value, reviewer, answered_at: new Date().toISOString(), curation: GALLERY.curation });
  unsaved = true;
  keep();
  route();
  tell(value ? `${kind}: saved with the answers, applied by the next curation` : `${kind}: taken back`);
}

// What is written beside an answer: a note, or its value (the organ of physiologic uptake).
function writeBesideAnswer(entry, name, text) {
  const said = answers[entry.id];
  if (!answerOf(entry.id) || (said[name] || "") === text.trim()) return;
  answers[entry.id] = { ...said, [name]: text.trim(), answered_at: new Date().toISOString() };
  unsaved = true;
  keep();
}

function note(entry, text) { writeBesideAnswer(entry, "note", text); }

// Where the organ of a proposal is named that a reviewer calls physiologic.
function organInput(entry, said) {
  if (entry.of !== "proposal" || said.answer !== "physiologic") return null;
  return make("label", { class: "soft" }, "organ ", make("input", { id: "organ", value: said.value || "", onchange: (event) => writeBesideAnswer(entry, "value", event.target.value) }));
}

function save() {
  if (!Object.keys(answers).length && !corrections.length) { tell("nothing answered yet"); return; }
  const name = `reviews-${fileName(reviewer || "reviewer")}-${GALLERY.curation.slice(0, 12) || "curation"}.csv`;
  const said = Object.entries(answers).sort(([a], [b]) => (a < b ? -1 : 1));
  download(name, toCsv(COLUMNS, [...said.map(([id, one]) => ({ ...one, finding_id: id })), ...corrections]));
  unsaved = false;
  keep();
  tell(`saved as ${name}: put it into the folder reviews of PETAR_HOME`);
}

async function openFile(file) {
  const { columns, rows } = await readCsv(file);
  if (!columns.includes("finding_id") || !columns.includes("answer")) { tell(`${file.name} is no file of answers: it lacks the columns finding_id and answer`); return; }
  let taken = 0, strange = 0;
  const clicks = GALLERY.kinds.filter((kind) => !kind.is_judgement).map((kind) => kind.name);
  for (const { finding_id: id, answer: value, note: written = "", curation = "", answered_at = "", ...row } of rows) {
    if (clicks.includes(value)) {
      const one = { finding_id: id, answer: value, value: row.value || "", reviewer: row.reviewer || reviewer, answered_at, curation };
      if (!corrections.some((c) => COLUMNS.every((name) => (c[name] || "") === (one[name] || "")))) { corrections.push(one); taken += 1; }
      continue;
    }
    const entry = byId.get(id);
    if (!entry || !kindsOf(entry).some((kind) => kind.name === value)) { strange += 1; continue; }
    const seen = row.seen || (!curation || curation === GALLERY.curation ? entry.seen : "");
    if (take(id, { answer: value, value: row.value || "", note: written, reviewer: row.reviewer || reviewer, answered_at, seen, curation: curation || GALLERY.curation })) taken += 1;
    reviewer = reviewer || row.reviewer || "";
  }
  store.set("reviewer", reviewer);
  keep();
  route();
  const again = entries.filter((e) => answers[e.id] && !answerOf(e.id)).length;
  tell(`${taken} answers taken from ${file.name}${again ? `; ${again} are of findings made anew since: look again` : ""}${strange ? `; ${strange} are not of this gallery and were left out` : ""}`);
}

function answerButtons(entry, said) {
  return kindsOf(entry).map(({ name, key, means }) => make("button", { "data-answer": name, title: means, "aria-pressed": String(said.answer === name), onclick: () => answer(entry, name) }, make("kbd", {}, key), name));
}

// The help: the keys of the answers, then those of the page (keys parted by blanks, "or" between two of one meaning).
function showKeys(ofPage) {
  const row = (of) => { const kinds = JUDGEMENTS.filter((kind) => kind.of.includes(of)); return [kinds.map((kind) => kind.key).join(" "), `${of}: ${kinds.map((kind) => kind.name).join(", ")}`]; };
  const all = [...[...new Set(entries.map((e) => e.of))].map(row), ...ofPage];
  $("keys").replaceChildren(...all.map(([k, what]) => make("tr", {}, make("td", { style: "white-space:nowrap" }, ...k.split(" ").map((x) => (x === "or" ? " or " : make("kbd", {}, x)))), make("td", {}, what))));
}

function askWho() { $("who-input").value = reviewer; $("who-dialog").showModal(); $("who-input").focus(); }

$("who").addEventListener("click", askWho);
$("who-dialog").addEventListener("close", () => {
  reviewer = $("who-input").value.trim();
  store.set("reviewer", reviewer);
  showProgress();
  const then = pending;
  pending = null;
  if (then && reviewer) then();
});
