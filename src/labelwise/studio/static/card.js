// One text on the screen, and where in it the mouse is.

import { h, replace, update } from "./dom.js";
import { pieces, snap, trim } from "./spans.js";

const GLOW_MS = 300; // drawn later, a fresh mark does not glow again
const STATES = { new: "", draft: "in work", accepted: "accepted", skipped: "skipped" };

/** Fill an article with a text, its marks, and what can be done. */
export function drawCard(studio, id, element) {
  const text = studio.texts.get(id);
  const isCurrent = id === studio.current;
  element.className = `card ${isCurrent ? "current" : ""} ${text?.isUnsaved ? "unsaved" : text?.state ?? "loading"}`;
  element.tabIndex = isCurrent ? 0 : -1;
  if (isCurrent) element.setAttribute("aria-current", "true");
  else element.removeAttribute("aria-current");
  element.setAttribute("aria-busy", String(!text || studio.isWaiting(id)));
  if (!text) {
    replace(element, h("p", { class: "text ghost" }, "\u00a0"));
    return;
  }
  const marks = studio.marks(id);
  element.setAttribute("aria-label", describe(studio, text, marks));
  update(element, drawText(studio, text, marks, isCurrent), drawFoot(studio, text, marks, isCurrent));
}

function describe(studio, text, marks) {
  const found = marks.map((m) => {
    const surface = text.text.slice(text.offsets.unit(m.start), text.offsets.unit(m.end));
    return `${surface}: ${studio.label(m.label)?.name ?? ""}`;
  });
  const state = stateOf(text) ? `${stateOf(text)}. ` : "";
  return `${state}${text.text.slice(0, 400)}. ${found.length ? found.join(", ") : "No marks"}.`;
}

function stateOf(text) {
  return text.isUnsaved ? "not saved" : STATES[text.state];
}

function drawText(studio, text, marks, isCurrent) {
  const selection = isCurrent ? studio.selection : null;
  const content = h("p", { class: "text", dir: "auto", "data-id": text.id });
  let open = null; // the mark that the pieces before belong to
  let box = content;
  for (const piece of pieces(text.offsets.length, marks, selection)) {
    if (piece.mark !== open) {
      open = piece.mark;
      box = open ? drawMark(studio, text, open) : content;
      if (open) content.append(box);
    }
    const surface = text.text.slice(text.offsets.unit(piece.start), text.offsets.unit(piece.end));
    box.append(piece.selected ? h("span", { class: "selected" }, surface) : surface);
  }
  return content;
}

function drawMark(studio, text, mark) {
  const isSuggested = text.state === "new";
  const classes = ["mark", studio.colour(mark.label), isSuggested ? "suggested" : "sure"];
  if (isSuggested && studio.isFresh(text.id, mark)) {
    classes.push("fresh");
    if (performance.now() - studio.refit.at < GLOW_MS) classes.push("glow");
  }
  const name = studio.label(mark.label)?.name ?? "?";
  const score = isSuggested ? ` ${Math.round(mark.score * 100)}` : "";
  return h("mark", { class: classes.join(" "), "data-tag": `${name}${score}` });
}

function drawFoot(studio, text, marks, isCurrent) {
  const isChanged = studio.fresh.has(text.id) && text.state === "new";
  const badges = [
    isChanged && h("span", { class: "badge changed" }, "changed"),
    stateOf(text) && h("span", { class: `badge ${text.isUnsaved ? "unsaved" : text.state}` }, stateOf(text)),
  ].filter(Boolean);
  if (!isCurrent) {
    return h("div", { class: "foot" }, badges.length > 0 && h("span", { class: "facts" }, badges));
  }
  const facts = h("span", { class: "facts" }, badges, h("span", { class: "source", dir: "auto" }, text.source));
  const isDone = text.state === "accepted" || text.state === "skipped";
  return h(
    "div",
    { class: "foot" },
    facts,
    h(
      "span",
      { class: "actions" },
      isDone
        ? h("button", { type: "button", class: "button quiet", "data-act": "reopen" }, "Reopen")
        : h("button", { type: "button", class: "button quiet", "data-act": "skip" }, "Skip", h("kbd", {}, "S")),
      marks.length > 0 && !isDone &&
        h("button", { type: "button", class: "button quiet", "data-act": "clear" }, "Clear"),
      text.isUnsaved &&
        h("button", { type: "button", class: "button main", "data-act": "save" }, "Save again"),
      !text.isUnsaved && text.state !== "accepted" &&
        h("button", { type: "button", class: "button main", "data-act": "accept" }, "Accept", h("kbd", {}, "↵")),
    ),
  );
}

/** Code-point span of the browser's selection in a text, or null. */
export function spanFromMouse(studio, isExact) {
  const chosen = getSelection();
  if (!chosen || chosen.rangeCount === 0) return null;
  const range = chosen.getRangeAt(0);
  const element = elementOf(range.startContainer)?.closest(".text");
  if (!element || !element.contains(range.endContainer)) return null;
  const text = studio.texts.get(Number(element.dataset.id));
  if (!text) return null;
  const before = document.createRange();
  before.selectNodeContents(element);
  before.setEnd(range.startContainer, range.startOffset);
  const unit = before.toString().length;
  const start = text.offsets.point(unit);
  const end = text.offsets.point(unit + range.toString().length);
  const span = start === end ? wordAt(studio, text, start) : exactOrSnapped(text, start, end, isExact);
  return span && { id: text.id, ...span };
}

function exactOrSnapped(text, start, end, isExact) {
  return isExact ? trim([...text.text], start, end) : snap(text.words, start, end);
}

/** The mark, or else the word, under a click. */
function wordAt(studio, text, point) {
  const mark = studio.marks(text.id).find((m) => m.start <= point && point < m.end);
  if (mark) return { start: mark.start, end: mark.end };
  const word = text.words.find(([start, end]) => start <= point && point <= end);
  return word ? { start: word[0], end: word[1] } : null;
}

function elementOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement;
}
