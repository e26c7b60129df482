// The small toolbar beside a selection: labels to click, with the keys that do the same.

import { h, replace } from "./dom.js";
import { overlaps } from "./spans.js";

export class Picker {
  constructor(studio, element) {
    this.studio = studio;
    this.element = element;
    element.addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the selection
  }

  draw() {
    const { studio, element } = this;
    const chosen = document.querySelector(".card.current .selected");
    element.hidden = !studio.selection || !chosen || studio.labels.length === 0;
    if (element.hidden) return;
    const marks = studio.marks(studio.current).filter((m) => overlaps(m, studio.selection));
    replace(
      element,
      studio.labels.slice(0, 24).map((label, i) => h(
        "button",
        {
          type: "button",
          class: `pick ${studio.colour(label.id)}`,
          "aria-pressed": String(marks.some((m) => m.label === label.id)),
          onclick: () => studio.mark(label.id),
        },
        i < 9 && h("kbd", {}, String(i + 1)),
        h("span", { dir: "auto" }, label.name),
      )),
      marks.length > 0 &&
        h("button", { type: "button", class: "pick reject", onclick: () => studio.reject() }, h("kbd", {}, "x"), "reject"),
    );
    this.place(chosen.getBoundingClientRect(), chosen.closest(".text").getBoundingClientRect());
  }

  /** Under the text, so that none of it is hidden; over the selection where there is no room. */
  place(box, text) {
    const { element } = this;
    const [width, height] = [element.offsetWidth, element.offsetHeight];
    const left = Math.max(8, Math.min(box.left, innerWidth - width - 8));
    const below = text.bottom + 4;
    const top = below + height < innerHeight - 8 ? below : Math.max(8, box.top - height - 10);
    element.style.left = `${left}px`;
    element.style.top = `${top}px`;
  }
}
