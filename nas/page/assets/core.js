// Data, state and small helpers. Text of the run reaches the page through textContent alone (`h`, `s`).

const model = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);

// An HTML element. Attributes that are functions become listeners; children are elements or text.
function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// An SVG element.
function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (name === 'value') element.value = value;
    else if (name === 'checked') element.checked = Boolean(value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

const paragraphs = (texts) => texts.map((text) => h('p', {}, text));

// Numbers as text: fractions in percent, bytes with 1 KB = 1,000 bytes, as in the terminal.
function fmt(column, value, short = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (column.kind === 'choice') return column.options[value] ?? '–';
  if (column.unit === 'fraction') return `${(100 * value).toFixed(1)}\u00a0%`;
  if (column.unit === 'bytes') return bytes(value);
  if (column.name === 'seconds') return duration(value);
  if (column.is_cost) return short ? compact(value) : count(value);
  return significant(value);
}
const count = (value) => Math.round(value).toLocaleString('en-US');
function significant(value, digits = 3) {
  if (Math.abs(value) >= 10000) return count(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(digits)));
}
function compact(value) {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]]) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return significant(value);
}
function bytes(value) {
  const units = ['B', 'KB', 'MB', 'GB'];
  let at = 0;
  while (value >= 1000 && at < 3) { value /= 1000; at += 1; }
  return `${value >= 100 || at === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[at]}`;
}
function duration(seconds) {
  const whole = Math.round(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
  const two = (n) => String(n).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
// A difference with its sign; of fractions in percentage points.
function signed(column, value) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  const size = Math.abs(value), text = column.unit === 'fraction' ? `${(100 * size).toFixed(1)} points` : fmt(column, size);
  return `${/[1-9]/.test(text) ? (value > 0 ? '+' : '−') : ''}${text}`;
}
// What a person types for an amount: 20000, 20k, 8M, 64 KB, 64 KiB.
function amount(text) {
  const found = /^\s*([\d.,]+)\s*([kmg]?)(i?)b?\s*$/i.exec(text);
  if (!found) return NaN;
  const power = { '': 0, k: 1, m: 2, g: 3 }[found[2].toLowerCase()];
  return Number(found[1].replaceAll(',', '')) * (found[3] ? 1024 : 1000) ** power;
}

const styles = getComputedStyle(document.documentElement);
const colour = (name) => styles.getPropertyValue(`--${name}`).trim();

// Light or dark: as the system has it until the button says otherwise.
const system = matchMedia('(prefers-color-scheme: dark)');
const stored = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const themed = [];
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  for (const redraw of themed) redraw();
}
setTheme(stored('nas-theme') ?? (system.matches ? 'dark' : 'light'));
system.addEventListener('change', () => { if (!stored('nas-theme')) setTheme(system.matches ? 'dark' : 'light'); });
byId('theme').addEventListener('click', () => {
  const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
  try { localStorage.setItem('nas-theme', next); } catch { /* a page from disk may have no storage */ }
  setTheme(next);
});

// A box beside the pointer.
function showHover(x, y, ...content) {
  const box = byId('hover');
  box.replaceChildren(...content);
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? x - width - 12 : x + 16;
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${Math.max(4, Math.min(y + 12, innerHeight - height - 8))}px`;
}
const hideHover = () => { byId('hover').hidden = true; };

// Calls `draw(width)` now, whenever the width of `element` changes, and when the theme does.
function drawn(element, draw) {
  let width = 0;
  const again = () => { width = element.clientWidth; if (width > 0) draw(width); };
  new ResizeObserver(() => { if (element.clientWidth !== width) again(); }).observe(element);
  again();
  return again;
}
