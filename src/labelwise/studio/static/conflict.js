// Two people, or two tabs, changed one thing: show both, let the person decide.

import { dialog, h } from "./dom.js";
import { Offsets, slice } from "./offsets.js";
import { merged } from "./spans.js";

const FIELDS = { name: "Name", words: "Reads as", description: "Description", threshold: "Threshold" };

/** Ask about a text; `keep` saves marks on top of the present version. */
export function openTextConflict(studio, current, mine, keep) {
  const offsets = new Offsets(current.text);
  const list = (marks) => h("ul", { class: "conflict-marks" }, marks.length === 0
    ? h("li", { class: "hint" }, "no marks")
    : marks.map((m) => h(
      "li",
      {},
      h("mark", { class: `mark sure ${studio.colour(m.label)}`, "data-tag": studio.label(m.label)?.name ?? "?", dir: "auto" },
        slice(current.text, offsets, m.start, m.end)),
    )));
  open({
    title: "This text was changed elsewhere",
    about: h("p", { class: "text small", dir: "auto" }, current.text.slice(0, 600)),
    yours: [`Yours (${mine.state})`, list(mine.marks)],
    theirs: [`Theirs (${current.state})`, list(current.marks)],
    keepYours: () => keep(mine.state, mine.marks),
    merge: () => keep(mine.state, merged(mine.marks, current.marks)),
  });
}

/** Ask about a label, if there is a difference; `keep` saves fields on top of the present version. */
export function openLabelConflict(current, mine, changes, keep) {
  const fields = Object.keys(FIELDS).filter((field) => mine[field] !== current[field]);
  if (fields.length === 0) return; // both did the same
  const list = (label) => h("dl", { class: "conflict-fields" }, fields.map((field) => [
    h("dt", {}, FIELDS[field]),
    h("dd", { dir: "auto" }, said(field, label[field])),
  ]));
  open({
    title: "This label was changed elsewhere",
    about: h("p", { class: "hint" }, "Merging keeps what you changed, and what was changed elsewhere beside it."),
    yours: ["Yours", list(mine)],
    theirs: ["Theirs", list(current)],
    keepYours: () => keep(mine),
    merge: () => keep(changes),
  });
}

function said(field, value) {
  if (field === "threshold") return value ? `≥ ${Math.round(100 * value)}` : "all";
  return value ?? h("span", { class: "hint" }, field === "words" ? "its name" : "none");
}

function open({ title, about, yours, theirs, keepYours, merge }) {
  let close = null;
  const choice = (name, kind, act) => h(
    "button",
    { type: "button", class: `button ${kind}`, onclick: () => { close(); act?.(); } },
    name,
  );
  const side = ([heading, list]) => h("section", {}, h("h3", {}, heading), list);
  close = dialog(title, h(
    "div",
    { class: "stack" },
    about,
    h("div", { class: "columns" }, side(yours), side(theirs)),
    h(
      "div",
      { class: "row end wrap" },
      choice("Keep theirs", "quiet"),
      choice("Keep yours", "quiet", keepYours),
      choice("Merge both", "main", merge),
    ),
  ));
}
