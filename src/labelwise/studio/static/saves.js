// Sends what a person did to texts: the saves of one text go one after the other.

import { isConflict, post, put } from "./api.js";

export class Saves {
  constructor(studio) {
    this.studio = studio;
    this.lines = new Map(); // text id -> its last save, and the promise of it
    this.nUnderWay = 0;
  }

  /** Whether leaving the page now would lose something. */
  get areUnfinished() {
    return this.nUnderWay > 0 || [...this.studio.texts.values()].some((text) => text.isUnsaved);
  }

  /** Show marks as kept, and send them; a save that fails holds none back that come after it. */
  add(id, state, marks) {
    const text = this.studio.texts.get(id);
    const mine = { ...text, state, marks: marks.map(bare), isUnsaved: false };
    this.studio.texts.set(id, mine);
    this.studio.tell("texts");
    this.nUnderWay += 1;
    const line = this.lines.get(id) ?? { sent: Promise.resolve() };
    this.lines.set(id, line);
    line.last = mine;
    line.sent = line.sent.catch(() => {}).then(() => this.send(line, mine, text.state === "accepted"));
    return line.sent;
  }

  /** Wait until nothing is on its way. */
  async settled() {
    await Promise.allSettled([...this.lines.values()].map((line) => line.sent));
  }

  async send(line, mine, wasAccepted) {
    const { studio } = this;
    const { id, state, marks } = mine;
    const { version } = studio.texts.get(id) ?? mine;
    try {
      if (this.lines.get(id) !== line) return; // a save before met a conflict
      this.take(await put(`texts/${id}`, { version, state, marks }));
    } catch (error) {
      if (isConflict(error)) this.ask(line, error.current);
      else await this.fail(mine, error);
      return;
    } finally {
      this.nUnderWay -= 1;
    }
    if (state === "accepted" || wasAccepted) {
      await studio.refresh();
      if (studio.show === "open" && studio.usefulFirst) {
        await this.reorder((error) => studio.say(error.message, "error"));
      }
    } else {
      studio.poll();
    }
  }

  /** Drop the saves of a text that wait, and ask about the last: none may pass a conflict by. */
  ask(line, current) {
    this.lines.delete(current.id);
    this.studio.onConflict?.(current, line.last);
  }

  /** Take the version of a saved text, but not its marks if the person has gone on since. */
  take(saved) {
    const text = this.studio.texts.get(saved.id);
    if (text) this.studio.texts.set(saved.id, { ...text, version: saved.version });
    else this.studio.takeText(saved);
  }

  /** Show a text as the server has it or, where that does not answer, as not saved. */
  async fail({ id, marks }, error) {
    const { studio } = this;
    studio.say(`Not saved. ${error.message}`, "error");
    const found = await post("texts", { ids: [id] }).catch(() => null);
    const text = studio.texts.get(id);
    if (text?.marks !== marks) return; // the person has gone on: what is shown is of a later save
    if (found) found.texts.forEach((x) => studio.takeText(x));
    else studio.texts.set(id, { ...text, isUnsaved: true });
    await this.reorder(() => {}); // that it does not answer is told already
    studio.putBack(id);
    studio.tell("order");
  }

  async reorder(onerror) {
    await this.studio.reorder({ keep: this.studio.visible() }).catch(onerror);
  }
}

const bare = ({ start, end, label }) => ({ start, end, label });
