// The side: labels with their numbers and thresholds, and how well the model does.

import { lineChart } from "./chart.js";
import { h, replace, toast } from "./dom.js";

const WRITTEN = ["name", "words", "description"];
const AND = new Intl.ListFormat("en");

export class Panel {
  constructor(studio, element) {
    this.studio = studio;
    this.rows = new Map();
    this.editing = null;
    this.hint = h("p", { class: "hint" }, "Each with the number of its marks. The slider hides suggestions below a score.");
    this.list = h("ol", { class: "labels" });
    this.alike = h("p", { class: "hint alike", role: "status", dir: "auto", hidden: true });
    this.learning = h("section", { class: "box", "aria-label": "Learning" });
    this.progress = h("div", { class: "progress-box" });
    this.input = h("input", {
      class: "field", placeholder: "Add a label, such as person", "aria-label": "New label", maxlength: 200, dir: "auto",
    });
    const add = h("form", { class: "add-label" }, this.input, h("button", { class: "button", type: "submit" }, "Add"));
    add.addEventListener("submit", (event) => {
      event.preventDefault();
      this.add();
    });
    replace(
      element,
      this.learning,
      h("section", { class: "box", "aria-label": "Labels" }, h("h2", {}, "Labels"), this.hint, this.list, this.alike, add),
      this.progress,
    );
    studio.addEventListener("summary", () => this.draw());
    studio.addEventListener("refit", () => this.drawLearning());
  }

  async add() {
    const names = this.input.value.split(",").map((n) => n.trim()).filter(Boolean);
    if (names.length === 0) return;
    try {
      await this.studio.addLabels(names.map((name) => ({ name })));
      this.input.value = "";
    } catch (error) {
      toast(error.message, "error");
    }
  }

  draw() {
    const isDragging = this.list.querySelector(".slider:active") !== null;
    if (!isDragging && this.editing === null) this.drawLabels();
    else for (const label of this.studio.labels) this.rows.get(label.id)?.fill(label);
    this.drawAlike();
    this.drawLearning();
    this.drawProgress();
  }

  drawLabels() {
    this.hint.hidden = this.studio.labels.length === 0;
    const ids = this.studio.labels.map((x) => x.id);
    const known = [...this.rows.keys()];
    if (ids.length !== known.length || ids.some((id, i) => id !== known[i])) {
      this.rows = new Map(this.studio.labels.map((label, i) => [label.id, this.row(label, i)]));
      replace(this.list, [...this.rows.values()].map((row) => row.element));
    }
    for (const label of this.studio.labels) this.rows.get(label.id).fill(label);
  }

  row(label, index) {
    const { studio } = this;
    const name = h("span", { class: "label-name", dir: "auto" });
    const count = h("span", { class: "label-count" });
    const agreement = h("span", { class: "label-agreement" });
    const shown = h("output", { class: "label-threshold" });
    const slider = h("input", { type: "range", class: "slider", min: 0, max: 100, step: 1 });
    slider.addEventListener("input", () => {
      shown.textContent = slider.value === "0" ? "all" : `≥ ${slider.value}`;
      studio.tryThreshold(label.id, slider.value / 100);
    });
    slider.addEventListener("change", async () => {
      const threshold = Number(slider.value) === 0 ? null : slider.value / 100;
      await this.change(label.id, { threshold });
    });
    const key = index < 9 ? h("kbd", { class: "label-key" }, String(index + 1)) : h("span", { class: "label-key" });
    const choose = h(
      "button",
      { type: "button", class: `label-choose ${studio.colour(label.id)}`, onclick: () => this.choose(label.id) },
      key, name, count,
    );
    const edit = h(
      "button",
      { type: "button", class: "button quiet icon-button edit", onclick: () => this.edit(label.id), title: "Rename or describe" },
      "⋯",
    );
    const form = h("div", { class: "label-form" });
    const element = h(
      "li",
      { class: "label" },
      h("div", { class: "label-line" }, choose, edit),
      h("div", { class: "label-line small" }, agreement, slider, shown),
      form,
    );
    const fill = (now) => {
      name.textContent = now.name;
      name.title = now.description ? `${now.reads} – ${now.description}` : now.reads;
      count.textContent = String(now.n_marks);
      count.title = "marks in accepted texts";
      agreement.textContent = now.n_suggested ? `kept ${now.n_kept} of ${now.n_suggested}` : "not judged yet";
      agreement.title = "Suggestions that you left as they were, when you accepted a text";
      edit.setAttribute("aria-label", `Rename or describe ${now.name}`);
      slider.setAttribute("aria-label", `Threshold of ${now.name}`);
      choose.setAttribute("aria-label", `Mark as ${now.name}, ${now.n_marks} so far`);
      if (!slider.matches(":active")) {
        slider.value = Math.round((now.threshold ?? 0) * 100);
        shown.textContent = slider.value === "0" ? "all" : `≥ ${slider.value}`;
      }
    };
    return { element, form, fill };
  }

  choose(id) {
    if (this.studio.selection) this.studio.mark(id);
    else toast("Select words in a text first; then click a label or press its number.");
  }

  edit(id) {
    const { form } = this.rows.get(id);
    if (this.editing !== null) {
      const isSame = this.editing === id;
      this.stopEditing();
      if (isSame) return;
    }
    this.editing = id;
    const label = this.studio.label(id); // as the person sees it while writing
    const name = h("input", { class: "field", value: label.name, maxlength: 200, dir: "auto" });
    const words = h("input", { class: "field", value: label.words ?? "", placeholder: label.reads, maxlength: 200, dir: "auto" });
    const description = h("textarea", { class: "field", value: label.description ?? "", rows: 2, maxlength: 900, dir: "auto",
      placeholder: "A sentence that says what is meant" });
    const save = async () => {
      const changes = {
        name: name.value.trim(), words: words.value.trim() || null, description: description.value.trim() || null,
      };
      const now = this.studio.label(id);
      const seen = WRITTEN.every((field) => now?.[field] === label[field]) ? now : label;
      if (await this.change(id, changes, seen)) this.stopEditing();
    };
    const fields = h(
      "form",
      { class: "label-fields" },
      h("label", {}, "Name", name),
      h("label", {}, "Reads as", words),
      h("label", {}, "Description", description),
      h(
        "div",
        { class: "row" },
        h("button", { type: "submit", class: "button main" }, "Save"),
        h("button", { type: "button", class: "button quiet", onclick: () => this.stopEditing() }, "Cancel"),
        h("button", { type: "button", class: "button quiet danger", onclick: () => this.remove(label) }, "Delete"),
      ),
    );
    fields.addEventListener("submit", (event) => {
      event.preventDefault();
      save();
    });
    fields.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.stopEditing();
    });
    replace(form, fields);
    name.focus();
    name.select();
  }

  stopEditing() {
    this.rows.get(this.editing)?.form.replaceChildren();
    this.editing = null;
    this.draw();
  }

  async remove(label) {
    const question = label.n_marks ? `Delete '${label.name}' and its ${label.n_marks} marks?` : `Delete '${label.name}'?`;
    if (!confirm(question)) return;
    this.editing = null;
    await this.studio.removeLabel(label.id).catch((error) => toast(error.message, "error"));
  }

  async change(id, changes, seen) {
    try {
      await this.studio.changeLabel(id, changes, seen);
      return true;
    } catch (error) {
      toast(error.message, "error");
      return false;
    }
  }

  /** Name labels that read as the same words, unless each has a description of its own, and long ones. */
  drawAlike() {
    const { labels, summary } = this.studio;
    const alike = summary.same_words
      .map((names) => labels.filter((x) => names.includes(x.name)))
      .filter((group) => new Set(group.map((x) => x.description)).size < group.length)
      .map((group) => {
        const names = AND.format(group.map((x) => `'${x.name}'`));
        return `${names} read as the same words, '${group[0].reads}', so that only your marks tell them apart. Give each words or a description of its own.`;
      });
    const text = [...alike, summary.read_in_part].filter(Boolean).join(" ");
    if (text !== this.alike.textContent) this.alike.textContent = text; // else said at every poll
    this.alike.hidden = text === "";
  }

  drawLearning() {
    const { summary, refit } = this.studio;
    const scores = summary.scores;
    const title = h("h2", {}, "How well it does");
    const speed = refit && h(
      "p",
      { class: "hint" },
      `Last update: ${refit.n} ${refit.n === 1 ? "text" : "texts"} in ${Math.round(refit.ms)} ms, ${refit.changed} changed.`,
    );
    if (scores.length === 0) {
      replace(
        this.learning,
        title,
        h("p", { class: "hint" }, "Accept a text, and the model learns from it at once. Its score on texts that it has not seen is drawn here."),
        speed,
      );
      return;
    }
    const last = scores[scores.length - 1];
    const how = last.kind === "each" ? "each accepted text held back in turn" : "a fifth of the accepted texts held back in turn";
    replace(
      this.learning,
      title,
      lineChart(scores.map((s) => ({ x: s.n_accepted, y: s.f1 })), {
        title: `F1 ${Math.round(100 * last.f1)} after ${last.n_accepted} texts; it began at ${Math.round(100 * scores[0].f1)}`,
        xTitle: "accepted texts",
        xMin: 0,
        xMax: Math.max(6, last.n_accepted),
        isNumbered: true,
      }),
      h("p", { class: "hint" }, `F1 with ${how}. Precision ${Math.round(100 * last.precision)}, recall ${Math.round(100 * last.recall)}.`),
      speed,
    );
  }

  drawProgress() {
    const { counts } = this.studio.summary;
    const total = this.studio.nTexts;
    const done = counts.accepted;
    const meter = h("progress", { class: "meter", max: Math.max(1, total), value: done, "aria-label": "Accepted texts" });
    replace(this.progress, h("p", { class: "hint" }, `${done.toLocaleString("en")} of ${total.toLocaleString("en")} texts accepted`), meter);
  }
}
