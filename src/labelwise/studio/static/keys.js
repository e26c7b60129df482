// The keyboard: everything that the mouse can do to a text.

import { overlaps } from "./spans.js";

const ONCE = ["Enter", "s"]; // held down, they would finish one text after the other unseen

/** Handle keys outside of fields and dialogs. `act` opens what is not about texts. */
export function listen(studio, act) {
  document.addEventListener("keydown", (event) => {
    if (event.target.closest?.("input, textarea, select, dialog")) return;
    if (document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !event.shiftKey) {
      event.preventDefault();
      studio.undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || (event.repeat && ONCE.includes(event.key))) return;
    const open = { "?": act.help, "/": act.search }[event.key];
    if (open) {
      event.preventDefault();
      open();
      return;
    }
    const isOnControl = event.target.closest?.("button, a, summary");
    if (isOnControl && (event.key === "Enter" || event.key === " ")) return;
    if (studio.current === null || !studio.texts.has(studio.current)) return;
    if (handle(studio, event, act)) event.preventDefault();
  });
}

function handle(studio, event, act) {
  if (/^[1-9]$/.test(event.key) && !event.altKey) return label(studio, Number(event.key) - 1);
  switch (event.key) {
    case "Enter":
      studio.accept();
      return true;
    case "ArrowDown":
      studio.step(1);
      return true;
    case "ArrowUp":
      studio.step(-1);
      return true;
    case "ArrowLeft":
    case "ArrowRight":
      return move(studio, event, isForward(studio, event));
    case "Home":
    case "End":
      return toBorder(studio, event);
    case "n":
    case "p":
      return toMark(studio, event.key === "n");
    case "x":
    case "Delete":
    case "Backspace":
      studio.reject();
      return true;
    case "s":
      studio.skip();
      return true;
    case "u":
      studio.undo();
      return true;
    case "Escape":
      if (!studio.selection) return false;
      studio.select(null);
      return true;
    case "i":
      act.import();
      return true;
    default:
      return false;
  }
}

function label(studio, index) {
  const chosen = studio.labels[index];
  if (!chosen || !studio.selection) return false;
  studio.mark(chosen.id);
  return true;
}

/** Whether an arrow points to the end of the text, which in right-to-left text is the left. */
function isForward(studio, event) {
  const element = document.querySelector(`.text[data-id="${studio.current}"]`);
  const isRtl = element !== null && getComputedStyle(element).direction === "rtl";
  return (event.key === "ArrowRight") !== isRtl;
}

/** Move over words; with Shift, grow the selection; with Alt too, by single characters. */
function move(studio, event, forward) {
  const text = studio.texts.get(studio.current);
  const { words } = text;
  if (words.length === 0) return true;
  const selection = studio.selection;
  if (event.altKey && event.shiftKey && selection) {
    return grow(studio, text, selection, forward);
  }
  if (!selection) {
    select(studio, words[forward ? 0 : words.length - 1]);
    return true;
  }
  const focus = selection.focus ?? [selection.start, selection.end];
  const at = words.findIndex(([start, end]) => start < focus[1] && end > focus[0]);
  const next = words[Math.max(0, Math.min(words.length - 1, at + (forward ? 1 : -1)))];
  select(studio, next, event.shiftKey ? selection.anchor ?? [selection.start, selection.end] : next);
  return true;
}

function grow(studio, text, selection, forward) {
  const end = Math.max(selection.start + 1, Math.min(text.offsets.length, selection.end + (forward ? 1 : -1)));
  studio.select({ ...selection, end, focus: [selection.start, end] });
  return true;
}

function toBorder(studio, event) {
  const { words } = studio.texts.get(studio.current);
  if (words.length === 0) return true;
  const word = words[event.key === "Home" ? 0 : words.length - 1];
  const anchor = event.shiftKey && studio.selection ? studio.selection.anchor ?? word : word;
  select(studio, word, anchor);
  return true;
}

/** Select the next or the previous mark. */
function toMark(studio, forward) {
  const marks = studio.marks(studio.current);
  if (marks.length === 0) return true;
  const at = studio.selection ? marks.findIndex((m) => overlaps(m, studio.selection)) : -1;
  const place = studio.selection?.start ?? (forward ? -1 : Infinity);
  let next;
  if (at >= 0) next = marks[(at + (forward ? 1 : marks.length - 1)) % marks.length];
  else if (forward) next = marks.find((m) => m.start > place) ?? marks[0];
  else next = marks.findLast((m) => m.start < place) ?? marks[marks.length - 1];
  select(studio, [next.start, next.end]);
  return true;
}

function select(studio, focus, anchor = focus) {
  studio.select({
    start: Math.min(anchor[0], focus[0]),
    end: Math.max(anchor[1], focus[1]),
    anchor,
    focus,
  });
}
