// What is selected, filtered and shown; the same for all views. `change` is the only way to alter it.

const trials = model.trials;
const total = trials.number.length;
const columns = new Map(model.columns.map((column) => [column.name, column]));
const placeOf = new Map(trials.number.map((number, i) => [number, i]));
const valueOf = (name, i) => trials.values[name][i];
const groupOf = (i) => trials.group[i];
const isFront = (i) => trials.group[i] === 'front';
const isFeasible = (i) => trials.group[i] === 'front' || trials.group[i] === 'dominated';
const endOf = (name, end, i) => model.intervals[name]?.[end][i] ?? null;
const front = trials.number.map((_, i) => i).filter(isFront);
const GROUPS = {
  front: 'on the front', dominated: 'beaten by one of the front', infeasible: 'breaks a limit', halted: 'stopped early',
  rejected: 'over budget, not trained', failed: 'failed',
};
// Axes that make sense: objectives first, then costs and other scores, then choices.
const order = { objective: 0, cost: 1, score: 2, choice: 3 };
const measured = [...model.columns].sort((a, b) => order[a.kind] - order[b.kind]);
const firstCost = measured.find((c) => c.kind === 'objective' && model.budgets.some((b) => b.cost === c.name));
const firstScore = measured.find((c) => c.kind === 'objective' && c !== firstCost) ?? measured[0];

const state = {
  x: (firstCost ?? measured.find((c) => c.kind === 'cost') ?? measured[1]).name,
  y: firstScore.name,
  colour: '',
  frontOnly: false,
  feasibleOnly: false,
  bars: front.length <= 40,
  ranges: {},
  selected: model.picked ? placeOf.get(model.picked.trial) ?? null : null,
  hovered: null,
  a: null,
  b: null,
  axes: model.columns.filter((c) => c.kind !== 'score' && varies(c)).map((c) => c.name),
  sort: model.objectives[0],
  down: columns.get(model.objectives[0]).direction === 'maximize',
  page: 0,
};

function varies(column) {
  const values = trials.values[column.name];
  return values.some((value) => value !== null && value !== values[0]);
}

const KEPT = ['x', 'y', 'colour', 'frontOnly', 'feasibleOnly', 'bars', 'ranges', 'axes', 'sort', 'down'];
function restore() {
  let found;
  try { found = JSON.parse(decodeURIComponent(location.hash.slice(1))); } catch { return; }
  if (typeof found !== 'object' || found === null) return;
  for (const key of KEPT) if (key in found && typeof found[key] === typeof state[key]) state[key] = found[key];
  for (const key of ['x', 'y', 'sort']) if (!columns.has(state[key])) state[key] = measured[0].name;
  if (!columns.has(state.colour)) state.colour = '';
  state.axes = Array.isArray(state.axes) ? state.axes.filter((name) => columns.has(name)) : [];
  state.ranges = Object.fromEntries(Object.entries(state.ranges ?? {}).filter(([name, range]) => columns.has(name) && Array.isArray(range) && range.every(Number.isFinite)));
  for (const key of ['selected', 'a', 'b']) if (placeOf.has(found[key])) state[key] = placeOf.get(found[key]);
}
restore();

function keep() {
  const found = Object.fromEntries(KEPT.map((key) => [key, state[key]]));
  for (const key of ['selected', 'a', 'b']) found[key] = state[key] === null ? null : trials.number[state[key]];
  try { history.replaceState(null, '', `#${encodeURIComponent(JSON.stringify(found))}`); } catch { /* refused in a sandbox */ }
}

// Whether the switches allow a trial, and whether the ranges hold it.
const allowed = (i) => (!state.frontOnly || isFront(i)) && (!state.feasibleOnly || isFeasible(i));
const inRanges = (i) => Object.entries(state.ranges).every(([name, [low, high]]) => {
  const value = valueOf(name, i);
  return value !== null && value >= low && value <= high;
});
let passing = [];
const sift = () => { passing = trials.number.map((_, i) => (allowed(i) ? (inRanges(i) ? 2 : 1) : 0)); };
sift();

const views = [];
let changed = new Set(), waiting = false;
function change(patch) {
  Object.assign(state, patch);
  for (const key of Object.keys(patch)) changed.add(key);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    const what = changed;
    changed = new Set();
    waiting = false;
    if (['frontOnly', 'feasibleOnly', 'ranges'].some((key) => what.has(key))) sift();
    for (const view of views) view(what);
    if (!(what.size === 1 && what.has('hovered'))) keep();
  });
}
const setRange = (name, range) => {
  const ranges = { ...state.ranges };
  if (range) ranges[name] = range; else delete ranges[name];
  change({ ranges, page: 0 });
};
const select = (i) => {
  change({ selected: i });
  if (i !== null) byId('said').textContent = `trial ${trials.number[i]}, ${GROUPS[groupOf(i)]}, ${columns.get(state.y).title} ${fmt(columns.get(state.y), valueOf(state.y, i))}`;
};
const better = (column) => (column.direction === 'minimize' ? 'less is better' : column.direction === 'maximize' ? 'more is better' : '');
const arrow = (column) => (column.direction === 'minimize' ? ' ↓' : column.direction === 'maximize' ? ' ↑' : '');

// Every attribute of a trial, for the box beside the pointer.
function hoverOf(i) {
  const rows = measured.filter((c) => c.kind !== 'choice' && valueOf(c.name, i) !== null).slice(0, 14);
  const list = h('dl', {}, rows.map((c) => [h('dt', {}, c.short), h('dd', {}, fmt(c, valueOf(c.name, i)) + rangeText(c, i))]));
  const head = h('div', {}, h('b', {}, `trial ${trials.number[i]} `), h('span', { class: `badge ${groupOf(i)}` }, GROUPS[groupOf(i)]));
  const warned = trials.warnings[i].length ? [h('div', {}, `⚠ ${trials.warnings[i].map((t) => trials.texts[t]).join('; ')}`)] : [];
  const broken = trials.broken[i].map((text) => h('div', {}, `⚠ ${text}`));
  return [head, list, h('div', { class: 'soft' }, trials.genotype[i]), ...warned, ...broken];
}
function rangeText(column, i) {
  const low = endOf(column.name, 'low', i), high = endOf(column.name, 'high', i);
  if (low === null || low === high || column.is_static) return '';
  return column.unit === 'fraction' ? ` (${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)})` : ` (${significant(low)}–${significant(high)})`;
}

// Colours by a number: cividis, which colour-blind people see as others do.
const CIVIDIS = [[0, 34, 78], [34, 62, 108], [87, 93, 109], [124, 123, 120], [165, 156, 116], [210, 193, 98], [254, 232, 56]];
function shade(share) {
  const at = Math.max(0, Math.min(0.9999, share)) * (CIVIDIS.length - 1), low = Math.floor(at);
  return `rgb(${CIVIDIS[low].map((v, k) => Math.round(v + (at - low) * (CIVIDIS[low + 1][k] - v))).join(',')})`;
}
function shadeOf(i) {
  const values = trials.values[state.colour], value = values[i];
  if (value === null) return colour('other');
  const [low, high] = extentOf(state.colour);
  return shade((value - low) / (high - low || 1));
}
const extents = new Map();
function extentOf(name) {
  if (!extents.has(name)) {
    const known = trials.values[name].filter((v) => v !== null);
    extents.set(name, known.length ? [Math.min(...known), Math.max(...known)] : [0, 1]);
  }
  return extents.get(name);
}
