/** Elements, made and found. No text ever becomes markup. */

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element; attributes that are false or missing are left out, `on...` are listeners. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Show an element, or hide it. */
export function show(element, isShown) {
  element.hidden = !isShown;
}

/** One clear line in an element that speaks up; none hides it. */
export function tell(element, message) {
  element.textContent = message;
  show(element, Boolean(message));
}

/** What a style sheet says a colour is called. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Whether the reader asked for less movement. */
export const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A canvas as sharp as the screen, cleared: its drawing context, width and height in CSS pixels. */
export function cleared(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  // Setting a size makes a new picture each time.
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, wide, high);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return { context, width, height };
}
