// Elements without markup: text is always text.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: properties, `class`, `data-*`, `aria-*` and `on*` by name; then children. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Make an SVG element. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in PROPERTIES) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

const PROPERTIES = { value: 1, checked: 1, disabled: 1, hidden: 1, textContent: 1 };

export const $ = (id) => document.getElementById(id);

/** Put children in the place of those that are there. */
export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

/**
 * Like `replace`, but leaves a child that is equal to the one in its place: its focus, and a press that has begun.
 * Listeners do not count: what they do must follow from what is seen.
 */
export function update(element, ...children) {
  const wanted = children.flat(Infinity).filter(Boolean);
  const old = [...element.children];
  wanted.forEach((child, i) => {
    if (i >= old.length) element.append(child);
    else if (!old[i].isEqualNode(child)) old[i].replaceWith(child);
  });
  for (const child of old.slice(wanted.length)) child.remove();
}

/** Call a function once things have been quiet for so long. */
export function debounce(call, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), milliseconds);
  };
}

/** Say something in the corner, and to screen readers. */
export function toast(message, kind = "note") {
  const item = h("div", { class: `toast ${kind}` }, message);
  $("toasts").append(item);
  setTimeout(() => item.classList.add("leaving"), kind === "error" ? 7000 : 2600);
  setTimeout(() => item.remove(), kind === "error" ? 7400 : 3000);
}

/** Open a modal dialog; returns a function that closes it. */
export function dialog(title, content, { wide = false, onclose = null } = {}) {
  const close = () => element.close();
  const element = h(
    "dialog",
    { class: wide ? "dialog wide" : "dialog", "aria-label": title },
    h(
      "div",
      { class: "dialog-top" },
      h("h2", {}, title),
      h("button", { type: "button", class: "button quiet icon-button", "aria-label": "Close", onclick: close }, "×"),
    ),
    h("div", { class: "dialog-body" }, content),
  );
  element.addEventListener("close", () => {
    element.remove();
    onclose?.();
  });
  let pressed = null; // who selects text and lets go outside does not want to leave
  element.addEventListener("pointerdown", (event) => { pressed = event.target; });
  element.addEventListener("click", (event) => {
    if (event.target === element && pressed === element) close();
  });
  document.body.append(element);
  element.showModal();
  return close;
}
