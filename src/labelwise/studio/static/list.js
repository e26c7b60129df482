// A list of any length of which only what is on the screen exists.

import { h } from "./dom.js";

const MARGIN = 500; // pixels drawn above and below the screen
const GAP = 10;

export class VirtualList {
  /**
   * @param {HTMLElement} scroller What scrolls.
   * @param {HTMLElement} space Child as tall as the whole list.
   * @param {(id: number, element: HTMLElement) => void} draw Fills an element.
   */
  constructor(scroller, space, draw) {
    this.scroller = scroller;
    this.space = space;
    this.drawItem = draw;
    this.ids = [];
    this.tops = [0];
    this.heights = new Map();
    this.elements = new Map();
    this.estimate = 96;
    let pending = false;
    scroller.addEventListener("scroll", () => {
      if (pending) return;
      pending = true;
      requestAnimationFrame(() => {
        pending = false;
        this.draw(false);
      });
    });
    new ResizeObserver(() => {
      this.heights.clear();
      this.draw(true);
    }).observe(scroller);
  }

  setItems(ids) {
    this.ids = ids;
    this.draw(true);
  }

  /** Ids on the screen, or nearly so. */
  visible(margin = MARGIN) {
    const [first, last] = this.range(margin);
    return this.ids.slice(first, last);
  }

  /** Draw what is on the screen; what was there is filled anew if asked for. */
  draw(again) {
    this.layOut();
    this.place(again);
    if (this.measure()) {
      this.layOut();
      this.place(false);
      this.measure();
    }
  }

  /** Bring an item onto the screen. */
  reveal(id) {
    const at = this.ids.indexOf(id);
    if (at < 0) return;
    this.layOut();
    const [top, bottom] = [this.tops[at], this.tops[at + 1]];
    const view = this.scroller.clientHeight;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = Math.max(0, top - 60);
    else if (bottom > this.scroller.scrollTop + view) {
      this.scroller.scrollTop = Math.min(top - 20, bottom - view + 60);
    }
    this.draw(false);
  }

  layOut() {
    this.tops = new Array(this.ids.length + 1);
    let top = 0;
    for (let i = 0; i < this.ids.length; i += 1) {
      this.tops[i] = top;
      top += (this.heights.get(this.ids[i]) ?? this.estimate) + GAP;
    }
    this.tops[this.ids.length] = top;
    this.space.style.height = `${top}px`;
  }

  range(margin) {
    const low = this.scroller.scrollTop - margin;
    const high = this.scroller.scrollTop + this.scroller.clientHeight + margin;
    const first = Math.max(0, this.after(low) - 1);
    return [first, Math.min(this.ids.length, this.after(high))];
  }

  /** Index of the first item that begins after a height. */
  after(height) {
    let low = 0;
    let high = this.ids.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle] > height) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  place(again) {
    const [first, last] = this.range(MARGIN);
    const wanted = new Set(this.ids.slice(first, last));
    for (const [id, element] of this.elements) {
      if (!wanted.has(id)) {
        element.remove();
        this.elements.delete(id);
      }
    }
    for (let i = first; i < last; i += 1) {
      const id = this.ids[i];
      let element = this.elements.get(id);
      if (!element || again) {
        if (!element) {
          element = h("article", { class: "card", role: "listitem", tabindex: "-1", "data-id": id });
          this.elements.set(id, element);
          this.space.append(element);
        }
        this.drawItem(id, element);
      }
      element.style.transform = `translateY(${this.tops[i]}px)`;
      element.setAttribute("aria-posinset", i + 1);
      element.setAttribute("aria-setsize", this.ids.length);
    }
  }

  measure() {
    let changed = false;
    for (const [id, element] of this.elements) {
      const height = element.offsetHeight;
      if (height > 0 && this.heights.get(id) !== height) {
        this.heights.set(id, height);
        changed = true;
      }
    }
    return changed;
  }
}
