// The import dialog: paste, choose or drop; a preview before anything is added.

import { post } from "./api.js";
import { debounce, dialog, h, replace, toast } from "./dom.js";

const FORMS = [
  ["auto", "Find out"],
  ["lines", "One text a line"],
  ["paragraphs", "One text a paragraph"],
  ["jsonl", "JSON lines"],
  ["csv", "CSV, one column"],
  ["conll", "CoNLL columns"],
  ["label-studio", "Label Studio JSON"],
];
const MAX_BYTES = 15 * 2 ** 20;

export function openImport(done, file = null) {
  const source = { name: "pasted", content: "", form: "auto", column: null };
  const preview = h("div", { class: "preview", "aria-live": "polite" });
  const form = h("select", { class: "field", "aria-label": "Form" }, FORMS.map(([value, title]) => h("option", { value }, title)));
  const column = h("select", { class: "field", "aria-label": "Column", hidden: true });
  const area = h("textarea", { class: "field", rows: 7, "aria-label": "Texts", dir: "auto", placeholder: "Paste texts here, or drop a file anywhere on this window." });
  const picker = h("input", { type: "file", class: "file", "aria-label": "File", accept: ".txt,.jsonl,.json,.csv,.tsv,.conll,.iob,.bio,text/*" });
  const add = h("button", { type: "button", class: "button main", disabled: true }, "Import");

  let nAsked = 0;
  const ask = debounce(async (asked) => {
    if (!source.content.trim()) return replace(preview);
    try {
      const found = await post("import/preview", source);
      if (asked !== nAsked) return undefined; // it is of another text or form than is there by now
      drawPreview(preview, found);
      column.hidden = found.columns.length === 0;
      if (found.columns.length > 0) {
        replace(column, found.columns.map((c) => h("option", { value: c }, c)));
        column.value = found.column;
      }
      add.disabled = found.n_texts === 0;
      add.textContent = `Import ${found.n_texts.toLocaleString("en")} ${found.n_texts === 1 ? "text" : "texts"}`;
    } catch (error) {
      if (asked === nAsked) replace(preview, h("p", { class: "problem" }, error.message));
    }
    return undefined;
  }, 250);
  const look = () => {
    add.disabled = true;
    ask(nAsked += 1);
  };

  const take = async (chosen) => {
    try {
      source.content = await readFile(chosen);
      source.name = chosen.name;
      source.column = null;
      area.value = "";
      area.placeholder = chosen.name;
      look();
    } catch (error) {
      replace(preview, h("p", { class: "problem" }, error.message));
    }
  };
  area.addEventListener("input", () => {
    Object.assign(source, { content: area.value, name: "pasted", column: null });
    look();
  });
  picker.addEventListener("change", () => picker.files[0] && take(picker.files[0]));
  form.addEventListener("change", () => {
    source.form = form.value;
    look();
  });
  column.addEventListener("change", () => {
    source.column = column.value;
    look();
  });
  const close = dialog("Import texts", h(
    "div",
    { class: "stack" },
    area,
    h("div", { class: "row wrap" }, picker, form, column),
    preview,
    h("div", { class: "row end" }, add),
  ));
  add.addEventListener("click", async () => {
    add.disabled = true;
    try {
      const result = await post("import", source);
      close();
      toast(describe(result));
      await done();
    } catch (error) {
      replace(preview, h("p", { class: "problem" }, error.message));
    }
  });
  if (file) take(file);
  else area.focus();
}

/** Read a file as UTF-8, or say why not. */
async function readFile(file) {
  if (file.size > MAX_BYTES) throw new Error(`'${file.name}' has ${Math.round(file.size / 2 ** 20)} MB. Expected at most 15. Split it.`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`'${file.name}' is not UTF-8 text. Expected text, JSONL, CSV, CoNLL or Label Studio JSON. Convert it.`);
  }
}

function drawPreview(element, found) {
  const form = FORMS.find(([value]) => value === found.form)?.[1] ?? found.form;
  const facts = [
    `${form}: ${found.n_texts.toLocaleString("en")} texts`,
    found.n_annotated > 0 && `${found.n_annotated.toLocaleString("en")} of them annotated, which count as accepted`,
    found.n_empty > 0 && `${found.n_empty} empty ones left out`,
    found.n_overlapping > 0 && `${found.n_overlapping} overlapping annotations left out`,
    found.labels.length > 0 && `labels ${found.labels.slice(0, 12).join(", ")}${found.labels.length > 12 ? ", …" : ""}`,
  ].filter(Boolean);
  replace(
    element,
    h("p", { class: "hint" }, `${facts.join("; ")}.`),
    found.remark && h("p", { class: "hint" }, found.remark),
    h("ul", { class: "preview-texts" }, found.texts.map((t) => h("li", { dir: "auto" }, t))),
  );
}

function describe(result) {
  const parts = [`Added ${result.n_added.toLocaleString("en")} texts`];
  if (result.n_annotated) parts.push(`${result.n_annotated} of them accepted as annotated`);
  if (result.n_known) parts.push(`left out ${result.n_known} that were there`);
  return `${parts.join(", ")}.${result.remark ? ` ${result.remark}` : ""}`;
}
