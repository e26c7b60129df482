// Two people, or two tabs, changed one text: show both, let the person decide.

import { dialog, h } from "./dom.js";
import { Offsets, slice } from "./offsets.js";
import { merged } from "./spans.js";

/** Ask; `keep` saves marks on top of the present version. */
export function openConflict(studio, current, mine, keep) {
  const offsets = new Offsets(current.text);
  const list = (marks) => h("ul", { class: "conflict-marks" }, marks.length === 0
    ? h("li", { class: "hint" }, "no marks")
    : marks.map((m) => h(
      "li",
      {},
      h("mark", { class: `mark sure ${studio.colour(m.label)}`, "data-tag": studio.label(m.label)?.name ?? "?", dir: "auto" },
        slice(current.text, offsets, m.start, m.end)),
    )));
  let close = null;
  const choice = (title, marks, state, kind) => h(
    "button",
    { type: "button", class: `button ${kind}`, onclick: () => { close(); keep(state, marks); } },
    title,
  );
  close = dialog("This text was changed elsewhere", h(
    "div",
    { class: "stack" },
    h("p", { class: "text small", dir: "auto" }, current.text.slice(0, 600)),
    h(
      "div",
      { class: "columns" },
      h("section", {}, h("h3", {}, `Yours (${mine.state})`), list(mine.marks)),
      h("section", {}, h("h3", {}, `Theirs (${current.state})`), list(current.marks)),
    ),
    h(
      "div",
      { class: "row end wrap" },
      h("button", { type: "button", class: "button quiet", onclick: () => close() }, "Keep theirs"),
      choice("Keep yours", mine.marks, mine.state, "quiet"),
      choice("Merge both", merged(mine.marks, current.marks), mine.state, "main"),
    ),
  ));
}
