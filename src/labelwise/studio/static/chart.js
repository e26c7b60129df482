// A small line chart: drawn as SVG, read out as a sentence.

import { svg } from "./dom.js";

const [W, H] = [296, 116];
const [LEFT, RIGHT, TOP, BOTTOM] = [26, 44, 10, 20];

/**
 * @param {{x: number, y: number}[]} points y from 0 to 1.
 * @param {{title: string, xTitle?: string, xMin?: number, xMax?: number, isNumbered?: boolean}} options
 *   `isNumbered` writes the ends of the x axis.
 */
export function lineChart(points, { title, xTitle = "", xMin, xMax, isNumbered = false }) {
  const low = xMin ?? Math.min(...points.map((p) => p.x));
  const high = Math.max(xMax ?? Math.max(...points.map((p) => p.x)), low + 1e-9);
  const x = (value) => LEFT + ((value - low) / (high - low)) * (W - LEFT - RIGHT);
  const y = (value) => H - BOTTOM - value * (H - TOP - BOTTOM);
  const line = points.map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("");
  const last = points[points.length - 1];
  const ground = `${line}L${x(last.x).toFixed(1)} ${y(0)}L${x(points[0].x).toFixed(1)} ${y(0)}Z`;
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title },
    [0, 0.5, 1].map((value) => [
      svg("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: LEFT - 6, y: y(value) + 3, "text-anchor": "end" }, String(value * 100)),
    ]),
    points.length > 1 && svg("path", { class: "area", d: ground }),
    points.length > 1 && svg("path", { class: "line", d: line }),
    points.length < 40 &&
      points.map((p) => svg("circle", { class: "dot", cx: x(p.x), cy: y(p.y), r: 2.2 })),
    svg("circle", { class: "dot last", cx: x(last.x), cy: y(last.y), r: 3.6 }),
    svg("text", { class: "value", x: x(last.x) + 8, y: y(last.y) + 4 }, String(Math.round(100 * last.y))),
    isNumbered && [low, high].map((value) => (
      svg("text", { class: "tick", x: x(value), y: H - 4, "text-anchor": "middle" }, value.toLocaleString("en")))),
    svg("text", { class: "tick", x: (LEFT + W - RIGHT) / 2, y: H - 4, "text-anchor": "middle" }, xTitle),
  );
}
