// Joins the parts of the page.

import { enter } from "./api.js";
import { drawCard, spanFromMouse } from "./card.js";
import { openLabelConflict, openTextConflict } from "./conflict.js";
import { $, debounce, h, replace, toast, update } from "./dom.js";
import { openExport } from "./exports.js";
import { openFinetune } from "./finetune.js";
import { openHelp } from "./help.js";
import { openImport } from "./imports.js";
import { listen } from "./keys.js";
import { VirtualList } from "./list.js";
import { Panel } from "./panel.js";
import { Picker } from "./picker.js";
import { Studio } from "./studio.js";
import { drawWelcome } from "./welcome.js";

const studio = new Studio();
const list = new VirtualList($("list"), $("list-space"), (id, element) => drawCard(studio, id, element));
const picker = new Picker(studio, $("picker"));
const panel = new Panel(studio, $("panel"));
let isDragging = false;

studio.visible = () => list.visible();
studio.onConflict = (current, mine) => {
  studio.takeText(current);
  studio.tell("texts");
  openTextConflict(studio, current, mine, (state, marks) => studio.save(current.id, state, marks));
};
studio.onLabelConflict = (current, mine, changes) => {
  studio.takeLabel(current);
  openLabelConflict(current, mine, changes, (fields) => panel.change(current.id, fields, current));
};

const SHOWN = [["open", "To do"], ["accepted", "Accepted"], ["skipped", "Skipped"], ["all", "All"]];
const ORDERS = [[true, "Most useful first"], [false, "As imported"]];

function drawTools() {
  const { counts } = studio.summary;
  const n = { open: counts.new + counts.draft, accepted: counts.accepted, skipped: counts.skipped, all: studio.nTexts };
  update($("show"), SHOWN.map(([name, title]) => h(
    "button",
    { type: "button", "aria-pressed": String(studio.show === name), "data-show": name, onclick: () => showOnly(name) },
    title,
    h("span", { class: "count" }, n[name].toLocaleString("en")),
  )));
  update($("order"), ORDERS.map(([useful, title]) => h(
    "button",
    { type: "button", "aria-pressed": String(studio.usefulFirst === useful), onclick: () => orderBy(useful) },
    title,
  )));
  $("order").hidden = studio.show !== "open";
}

async function showOnly(name) {
  studio.show = name;
  studio.current = null;
  await change();
  focusCurrent();
}

async function orderBy(useful) {
  studio.usefulFirst = useful;
  studio.current = null;
  await change();
  focusCurrent();
}

async function change() {
  studio.selection = null;
  $("list").scrollTop = 0;
  await studio.reorder().catch((error) => toast(error.message, "error"));
  drawTools();
}

function drawAll() {
  if (isDragging) return;
  list.draw(true);
  studio.need(list.visible());
  picker.draw();
}

function drawOrder() {
  list.setItems(studio.order);
  studio.need(list.visible());
  $("list").classList.toggle("empty", studio.order.length === 0);
}

function drawView() {
  const isEmpty = studio.nTexts === 0;
  $("welcome").hidden = !isEmpty;
  $("work").hidden = isEmpty;
  for (const name of ["open-import", "open-export", "open-finetune", "open-panel"]) $(name).hidden = isEmpty;
  $("project-name").textContent = studio.summary.name;
  document.title = `${studio.summary.name} – labelwise studio`;
  if (isEmpty) {
    if (!$("welcome").firstChild) drawWelcome(studio, $("welcome"), reload, () => openImport(reload));
  } else {
    drawTools();
  }
}

async function reload() {
  studio.texts.clear();
  studio.suggestions.clear();
  studio.current = null;
  await studio.load();
  focusCurrent();
}

function focusCurrent() {
  if (studio.current === null) return;
  list.reveal(studio.current);
  list.elements.get(studio.current)?.focus({ preventScroll: true });
}

studio.addEventListener("summary", drawView);
studio.addEventListener("order", drawOrder);
studio.addEventListener("texts", drawAll);
studio.addEventListener("selection", drawAll);
studio.addEventListener("current", () => {
  drawAll();
  focusCurrent();
});
studio.addEventListener("say", (event) => toast(event.detail.message, event.detail.kind));
studio.addEventListener("refit", () => {
  const { changed, ms } = studio.refit;
  document.body.dataset.updates = Number(document.body.dataset.updates ?? 0) + 1;
  document.body.dataset.refitMs = Math.round(ms);
  if (changed > 0) toast(`Learned. ${changed} other ${changed === 1 ? "text" : "texts"} changed.`);
});
$("list").addEventListener("scroll", () => {
  studio.need(list.visible());
  picker.draw();
});

// The mouse

$("list-space").addEventListener("pointerdown", (event) => {
  const card = event.target.closest(".card");
  if (event.button !== 0 || !card || event.target.closest("button")) return;
  isDragging = event.target.closest(".text") !== null;
});
document.addEventListener("pointerup", (event) => {
  if (!isDragging) return;
  isDragging = false;
  const span = spanFromMouse(studio, event.altKey);
  getSelection()?.removeAllRanges();
  const card = event.target.closest?.(".card");
  if (!span) {
    if (card) studio.choose(Number(card.dataset.id));
    drawAll();
    return;
  }
  const { id, start, end } = span;
  studio.choose(id);
  studio.select({ start, end });
});
document.addEventListener("pointercancel", () => { // a finger scrolls, or something else has come between
  isDragging = false;
  drawAll();
});
$("list-space").addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (!card) return;
  const id = Number(card.dataset.id);
  const act = event.target.closest("[data-act]")?.dataset.act;
  if (!act) {
    if (!event.target.closest(".text")) studio.choose(id);
    return;
  }
  if (act === "accept") studio.accept();
  else if (act === "skip") studio.skip();
  else if (act === "save") studio.saveAgain();
  else if (act === "clear") studio.save(id, "draft", []);
  else studio.save(id, "draft", studio.marks(id));
});

// Leaving: the browser asks first while something is not saved

addEventListener("beforeunload", (event) => {
  if (studio.saves.areUnfinished) event.preventDefault();
});

// Dropped files

let depth = 0;
const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  depth += 1;
  $("drop").hidden = false;
});
addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  $("drop").hidden = depth === 0;
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("drop").hidden = true;
  const file = event.dataTransfer?.files[0];
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  if (file) openImport(reload, file);
});

// The bar

$("open-import").addEventListener("click", () => openImport(reload));
$("open-export").addEventListener("click", () => openExport());
$("open-finetune").addEventListener("click", () => openFinetune(() => studio.refresh()));
$("open-help").addEventListener("click", () => openHelp());
$("open-panel").addEventListener("click", (event) => {
  const isOpen = $("panel").classList.toggle("open");
  event.currentTarget.setAttribute("aria-expanded", String(isOpen));
});
$("search").addEventListener("input", debounce(() => {
  studio.containing = $("search").value.trim();
  change();
}, 250));
$("search").addEventListener("keydown", (event) => event.key === "Enter" && focusCurrent());
listen(studio, { help: openHelp, import: () => openImport(reload), search: () => $("search").focus() });

enter()
  .then(() => studio.load())
  .then(focusCurrent)
  .catch((error) => {
    $("welcome").hidden = false;
    replace($("welcome"), h("h1", {}, "The door is closed"), h("p", { class: "lead" }, error.message));
  });
