// What an empty project shows: paste texts and name labels, or try a sample.

import { get, post } from "./api.js";
import { h, replace, toast } from "./dom.js";

const EVERYDAY = ["person", "organization", "place", "date"];
const PRESETS = [
  ["conll2003", "CoNLL-2003"],
  ["ontonotes", "OntoNotes"],
  ["i2b2_2014", "i2b2 privacy"],
];
const SAMPLES = [
  ["contracts", "Contracts", "parties, money, dates, clauses"],
  ["incidents", "Incidents", "services, servers, errors, teams"],
  ["support", "Support", "products, orders, issues, cities"],
];

export function drawWelcome(studio, element, started, openImport) {
  const texts = h("textarea", {
    class: "field", rows: 5, id: "welcome-texts", dir: "auto",
    placeholder: "Ada Lovelace moved to London in 1835.\nThe lease begins on 1 March 2024.",
  });
  const labels = h("input", { class: "field", id: "welcome-labels", dir: "auto", placeholder: "person, city, date" });
  const start = async () => {
    const names = labels.value.split(",").map((n) => n.trim()).filter(Boolean);
    if (!texts.value.trim()) return toast("Paste at least one text.");
    if (names.length === 0) return toast("Name at least one label: what should be found?");
    try {
      await post("labels", { labels: names.map((name) => ({ name })) });
      await post("import", { name: "pasted", content: texts.value, form: "lines" });
      await started();
    } catch (error) {
      toast(error.message, "error");
    }
    return undefined;
  };
  const form = h(
    "form",
    { class: "welcome-card" },
    h("label", { for: "welcome-texts" }, "Paste texts", h("span", { class: "hint" }, " one a line")),
    texts,
    h("label", { for: "welcome-labels" }, "What should be found?", h("span", { class: "hint" }, " in your own words")),
    labels,
    h("div", { class: "row wrap" }, h("span", { class: "hint" }, "or begin with"), presets(labels)),
    h(
      "div",
      { class: "row" },
      h("button", { type: "submit", class: "button main large" }, "Start"),
      h("button", { type: "button", class: "button quiet large", onclick: openImport }, "Import a file"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  replace(
    element,
    h("h1", {}, "Teach it by example"),
    h("p", { class: "lead" }, "Name what you look for. Correct what it gets wrong. Every other text follows within the second, on this machine, with nothing sent anywhere."),
    form,
    h("h2", { class: "or" }, "or try a sample"),
    h("div", { class: "samples" }, SAMPLES.map(([name, title, what]) => h(
      "button",
      { type: "button", class: "sample", "data-sample": name, onclick: () => sample(name, started) },
      h("strong", {}, title),
      h("span", { class: "hint" }, what),
    ))),
  );
}

/** Well-known sets of names, to fill in and change. */
function presets(field) {
  const chip = (title, names) => h("button", {
    type: "button", class: "chip", onclick: async () => {
      field.value = (await names()).join(", ");
      field.focus();
    },
  }, title);
  const known = (name) => async () => (await get("presets"))[name];
  return [
    chip("everyday names", async () => EVERYDAY),
    ...PRESETS.map(([name, title]) => chip(title, known(name))),
  ];
}

async function sample(name, started) {
  try {
    await post("sample", { name });
    await started();
  } catch (error) {
    toast(error.message, "error");
  }
}
