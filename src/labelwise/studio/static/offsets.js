// Code points to UTF-16 units and back. The only place that converts: everything else that holds
// an offset holds code points, as Python does.

/** Offsets of one text, in both countings. */
export class Offsets {
  /** @param {string} text */
  constructor(text) {
    /** Units before each code point, if any needs two. */
    this.units = null;
    this.length = text.length;
    if (/[\ud800-\udbff][\udc00-\udfff]/.test(text)) {
      const units = [];
      let unit = 0;
      for (const point of text) {
        units.push(unit);
        unit += point.length;
      }
      units.push(unit);
      this.units = units;
      this.length = units.length - 1;
    }
  }

  /** The UTF-16 unit at which a code point begins. */
  unit(point) {
    return this.units ? this.units[Math.max(0, Math.min(point, this.length))] : point;
  }

  /** The code point that holds a UTF-16 unit. */
  point(unit) {
    if (!this.units) return unit;
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.units[middle] <= unit) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** The part of a text between two code points. */
export function slice(text, offsets, start, end) {
  return text.slice(offsets.unit(start), offsets.unit(end));
}
