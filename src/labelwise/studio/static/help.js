// Keyboard help.

import { dialog, h } from "./dom.js";

const KEYS = [
  ["↑ ↓", "previous or next text"],
  ["← →", "move over words"],
  ["Shift ← →", "grow the selection by words"],
  ["Alt Shift ← →", "grow it by single characters"],
  ["Home End", "first or last word"],
  ["n p", "next or previous mark"],
  ["1 – 9", "label the selection"],
  ["x", "reject the marks that are selected"],
  ["Enter", "accept the whole text"],
  ["s", "skip the text"],
  ["Ctrl Z", "undo"],
  ["Esc", "let go of the selection"],
  ["i", "import"],
  ["/", "search; Enter goes back to the texts"],
  ["?", "this help"],
];

export function openHelp() {
  dialog("Keyboard", h(
    "div",
    { class: "stack" },
    h("dl", { class: "keys" }, KEYS.map(([keys, what]) => [
      h("dt", {}, keys.split(" ").map((k) => (k === "–" ? " – " : h("kbd", {}, k)))),
      h("dd", {}, what),
    ])),
    h("p", { class: "hint" }, "With the mouse: drag over words, then click a label. Hold Alt to take exactly the characters you dragged over. Click a mark to change or reject it."),
  ));
}
