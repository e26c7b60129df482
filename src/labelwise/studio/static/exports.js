// The export dialog: files to download and code to paste.

import { get } from "./api.js";
import { dialog, h, replace, toast } from "./dom.js";

const FILES = [
  ["model", "Model", "A folder for Tagger.from_pretrained, as a zip"],
  ["jsonl", "JSON lines", "Texts with entities, offsets in characters"],
  ["conll", "CoNLL", "A word and its tag a line"],
  ["label-studio", "Label Studio", "Tasks to import there"],
  ["spacy", "spaCy", "A DocBin; needs spaCy on this machine"],
];

export async function openExport() {
  const code = await get("snippets").catch(() => ({}));
  const shown = h("pre", { class: "code", tabindex: 0 });
  const tabs = h("div", { class: "segments", role: "group", "aria-label": "Language" });
  const choose = (name) => {
    shown.textContent = code[name] ?? "";
    for (const tab of tabs.children) tab.setAttribute("aria-pressed", String(tab.dataset.name === name));
  };
  replace(tabs, [["python", "Python"], ["curl", "curl"], ["spacy", "spaCy"]].map(([name, title]) => h(
    "button",
    { type: "button", "data-name": name, "aria-pressed": "false", onclick: () => choose(name) },
    title,
  )));
  const copy = h("button", { type: "button", class: "button quiet" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(shown.textContent).then(() => toast("Copied."), () => toast("Cannot copy here; select the code instead."));
  });
  dialog("Export", h(
    "div",
    { class: "stack" },
    h("div", { class: "files" }, FILES.map(([name, title, what]) => h(
      "button",
      { type: "button", class: "sample", "data-export": name, onclick: (event) => download(name, event.currentTarget) },
      h("strong", {}, title),
      h("span", { class: "hint" }, what),
    ))),
    h("div", { class: "row between" }, tabs, copy),
    shown,
  ), { wide: true });
  choose("python");
}

/** Fetch first, so that an error is told here and not on a page of its own. */
async function download(name, button) {
  button.disabled = true;
  try {
    const response = await fetch(`/studio/api/export/${name}`, { credentials: "same-origin" });
    if (!response.ok) throw new Error((await response.json()).error.message);
    const address = URL.createObjectURL(await response.blob());
    const named = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "");
    const link = h("a", { href: address, download: named?.[1] ?? name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    toast(error.message, "error");
  } finally {
    button.disabled = false;
  }
}
