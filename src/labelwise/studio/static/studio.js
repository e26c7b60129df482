// What the page knows, and what a person can do to it. Draws nothing.

import { get, isConflict, isWithoutModel, post, put, remove } from "./api.js";
import { Offsets } from "./offsets.js";
import { Saves } from "./saves.js";
import { above, same, trim, withMark, withoutMarks } from "./spans.js";

const BATCH = 50; // texts that are asked for at once
const POLL_MS = 600;

export class Studio extends EventTarget {
  constructor() {
    super();
    this.summary = null;
    this.labels = [];
    this.thresholds = new Map();
    this.order = [];
    this.nAsked = 0; // times that the order was asked for
    this.texts = new Map();
    this.suggestions = new Map();
    this.fresh = new Map(); // text id -> keys of suggestions that the last refit brought
    this.show = "open";
    this.usefulFirst = true;
    this.containing = "";
    this.current = null;
    this.selection = null;
    this.visible = () => [];
    this.refit = null; // how long the last one took, and what it changed
    this.onConflict = null;
    this.onLabelConflict = null;
    this.saves = new Saves(this);
    this.wanted = new Set();
    this.isFetching = false;
    this.polling = 0;
    this.problems = new Map(); // what was asked for -> why it did not come
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }

  // Labels and numbers

  async load() {
    this.take(await get("project"));
    if (this.nTexts > 0) await this.reorder();
    this.poll();
  }

  get nTexts() {
    return Object.values(this.summary.counts).reduce((a, b) => a + b, 0);
  }

  take(summary) {
    this.summary = summary;
    this.labels = summary.labels;
    this.thresholds = new Map(summary.labels.map((x) => [x.id, x.threshold ?? 0]));
    this.tell("summary");
  }

  label(id) {
    return this.labels.find((x) => x.id === id);
  }

  colour(id) {
    return `c${Math.max(0, this.labels.findIndex((x) => x.id === id)) % 12}`;
  }

  async addLabels(labels) {
    this.take(await post("labels", { labels }));
    await this.refresh();
  }

  /** Change fields of a label, as the person has `seen` it. */
  async changeLabel(id, fields, seen = this.label(id)) {
    const changes = Object.entries(fields).filter(([field, value]) => value !== seen[field]);
    if (changes.length === 0) return;
    const { version, name, words, description, threshold } = { ...seen, ...fields };
    const mine = { name, words, description, threshold };
    try {
      this.take(await put(`labels/${id}`, { version, ...mine }));
    } catch (error) {
      if (!isConflict(error)) throw error;
      this.onLabelConflict?.(error.current, mine, Object.fromEntries(changes));
      return;
    }
    if (changes.some(([field]) => field !== "threshold")) await this.refresh();
    this.poll();
  }

  /** Take a label as it is by now. */
  takeLabel(label) {
    const labels = this.labels.map((x) => (x.id === label.id ? { ...x, ...label } : x));
    this.take({ ...this.summary, labels });
    this.poll();
  }

  async removeLabel(id) {
    this.take(await remove(`labels/${id}`));
    this.texts.clear();
    this.suggestions.clear();
    this.selection = null;
    await this.reorder();
  }

  /** Show what a threshold would hide, without keeping it. */
  tryThreshold(id, threshold) {
    this.thresholds.set(id, threshold);
    this.tell("texts");
  }

  /** Ask for the numbers until the model has been scored. */
  poll() {
    clearTimeout(this.polling);
    this.polling = setTimeout(async () => {
      try {
        this.take(await get("project"));
        this.setProblem("project", this.summary.problem);
      } catch (error) {
        this.setProblem("project", error.message);
      }
      if (!this.summary.is_scored) this.poll();
    }, POLL_MS);
  }

  /** Say a problem once, for as long as it lasts. */
  setProblem(wanted, problem) {
    const isKnown = [...this.problems.values()].includes(problem);
    this.problems.set(wanted, problem);
    if (problem && !isKnown) this.say(problem, "error");
  }

  say(message, kind = "note") {
    this.dispatchEvent(new CustomEvent("say", { detail: { message, kind } }));
  }

  // Texts

  async reorder({ keep = [] } = {}) {
    const { show, usefulFirst, containing } = this;
    const query = new URLSearchParams({ show, useful_first: usefulFirst, containing });
    const asked = (this.nAsked += 1);
    const { ids } = await get(`order?${query}`);
    if (asked !== this.nAsked) return; // it is of a search or a choice that is over
    const known = new Set(ids);
    const first = keep.filter((id) => known.has(id));
    const kept = new Set(first);
    this.order = [...first, ...ids.filter((id) => !kept.has(id))];
    if (!this.order.includes(this.current)) this.current = this.order[0] ?? null;
    this.tell("order");
  }

  /** Fetch texts that the list wants to draw, with what the model says about them. */
  need(ids) {
    for (const id of ids) {
      if (!this.texts.has(id) || !this.suggestions.has(id)) this.wanted.add(id);
    }
    if (!this.isFetching) this.fetchWanted();
  }

  /** Fetch one batch after the other until nothing is wanted; after one that failed, wait. */
  async fetchWanted() {
    this.isFetching = true;
    let isFetched = true;
    while (this.wanted.size > 0) {
      await new Promise((done) => setTimeout(done, isFetched ? 0 : POLL_MS));
      isFetched = await this.fetchBatch([...this.wanted].slice(0, BATCH));
    }
    this.isFetching = false;
  }

  /** Fetch some texts; returns whether they came. */
  async fetchBatch(ids) {
    let isFetched = true;
    try {
      const missing = ids.filter((id) => !this.texts.has(id));
      if (missing.length > 0) {
        for (const text of (await post("texts", { ids: missing })).texts) this.takeText(text);
        this.tell("texts");
      }
      const answer = await post("suggestions", { ids });
      for (const id of ids) this.suggestions.set(id, answer.texts[id] ?? []);
      this.setProblem("texts", null);
    } catch (error) {
      isFetched = false;
      this.setProblem("texts", error.message);
      if (isWithoutModel(error)) for (const id of ids) this.suggestions.set(id, []);
    }
    for (const id of ids) this.wanted.delete(id);
    this.tell("texts");
    return isFetched;
  }

  takeText(text) {
    const known = this.texts.get(text.id);
    const offsets = known?.text === text.text ? known.offsets : new Offsets(text.text);
    this.texts.set(text.id, { ...text, offsets });
  }

  /** Ask the model again about what is on the screen; mark what has changed. */
  async refresh() {
    const ids = this.visible().slice(0, BATCH);
    const started = performance.now();
    let answer;
    try {
      answer = await post("suggestions", { ids });
      this.setProblem("texts", null);
    } catch (error) {
      this.setProblem("texts", error.message);
      if (!isWithoutModel(error)) this.suggestions.clear(); // they are of another time: ask again
      this.tell("texts");
      this.poll();
      return;
    }
    const shown = new Set(ids);
    for (const id of this.suggestions.keys()) if (!shown.has(id)) this.suggestions.delete(id);
    this.fresh = new Map();
    let changed = 0;
    for (const id of ids) {
      const before = above(this.suggestions.get(id) ?? [], this.thresholds);
      const found = answer.texts[id] ?? [];
      const after = above(found, this.thresholds);
      const isOpen = this.texts.get(id)?.state === "new" && this.suggestions.has(id);
      const news = after.filter((s) => !before.some((b) => same(b, s)));
      const lost = before.some((b) => !after.some((s) => same(b, s)));
      if (isOpen && (news.length > 0 || lost)) {
        changed += 1;
        this.fresh.set(id, new Set(news.map(key)));
      }
      this.suggestions.set(id, found);
    }
    const now = performance.now();
    this.refit = { ms: now - started, at: now, n: ids.length, changed };
    this.tell("refit");
    this.tell("texts");
    this.poll();
  }

  /** The marks of a text as they look: a person's, or the model's until there are any. */
  marks(id) {
    const text = this.texts.get(id);
    if (!text) return [];
    if (text.state !== "new") return text.marks;
    return above(this.suggestions.get(id) ?? [], this.thresholds);
  }

  /** Whether it is not known yet what the model suggests for a text that nobody has marked. */
  isWaiting(id) {
    return this.texts.get(id)?.state === "new" && !this.suggestions.has(id);
  }

  /** Where that is so, say it and ask again: to accept such a text would teach "nothing". */
  mustWait(id) {
    if (!this.isWaiting(id)) return false;
    this.need([id]);
    this.say("The suggestions for this text are still to come. Try again in a moment.");
    return true;
  }

  isFresh(id, mark) {
    return this.fresh.get(id)?.has(key(mark)) ?? false;
  }

  // What a person does

  choose(id) {
    if (id === this.current) return;
    this.current = id;
    this.selection = null;
    this.tell("current");
  }

  step(by) {
    const at = this.order.indexOf(this.current);
    const next = this.order[Math.max(0, Math.min(this.order.length - 1, at + by))];
    if (next !== undefined) this.choose(next);
  }

  select(selection) {
    this.selection = selection;
    this.tell("selection");
  }

  /** Put a label on what is selected. */
  mark(label) {
    if (!this.selection || this.current === null) return;
    if (this.mustWait(this.current)) return;
    const { text } = this.texts.get(this.current);
    const span = trim([...text], this.selection.start, this.selection.end);
    this.select(null);
    if (span) this.save(this.current, "draft", withMark(this.marks(this.current), { ...span, label }));
  }

  /** Take away the marks that the selection touches. */
  reject() {
    if (!this.selection || this.current === null) return;
    const before = this.marks(this.current);
    const marks = withoutMarks(before, this.selection);
    this.select(null);
    if (marks.length < before.length) this.save(this.current, "draft", marks);
  }

  /** Accept the current text as it looks, and go on with the next. */
  accept() {
    this.finish("accepted");
  }

  skip() {
    this.finish("skipped");
  }

  finish(state) {
    const id = this.current;
    if (id === null || !this.texts.has(id)) return;
    if (state === "accepted" && this.mustWait(id)) return;
    const marks = state === "skipped" && this.texts.get(id).state === "new" ? [] : this.marks(id);
    const at = this.order.indexOf(id);
    if (this.show === "open") this.order = this.order.filter((other) => other !== id);
    this.selection = null;
    const next = this.show === "open" ? this.order[Math.min(at, this.order.length - 1)] : this.order[at + 1];
    this.current = next ?? (this.show === "open" ? null : id);
    this.save(id, state, marks);
    this.tell("order");
    this.tell("current");
  }

  async undo() {
    await this.saves.settled();
    try {
      const text = await post("undo");
      this.takeText(text);
      const isShown = this.show !== "open" || text.state === "new" || text.state === "draft";
      if (isShown) {
        this.putBack(text.id);
        this.current = text.id;
      }
      this.selection = null;
      this.say("Took the last change back.");
      this.tell("order");
      this.tell("current");
      await this.refresh();
    } catch (error) {
      this.say(error.message);
    }
  }

  /** Keep the marks of a text. */
  save(id, state, marks) {
    return this.saves.add(id, state, marks);
  }

  /** Try once more to keep the current text as it looks. */
  saveAgain() {
    const { state } = this.texts.get(this.current);
    if (state === "draft") this.save(this.current, state, this.marks(this.current));
    else this.finish(state);
  }

  /** List a text before the current one, if it is not listed. */
  putBack(id) {
    if (this.order.includes(id)) return;
    this.order.splice(Math.max(0, this.order.indexOf(this.current)), 0, id);
    this.current ??= id;
  }
}

const key = (mark) => `${mark.start}-${mark.end}-${mark.label}`;
