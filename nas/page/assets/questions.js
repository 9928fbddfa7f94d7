// "What is best within a budget?" and "Is A really better than B?". Python chose and measured; this looks up.

const pairs = { ...model.pairs, place: new Map(model.pairs.trials.map((number, k) => [number, k])), low: floats(model.pairs.low), high: floats(model.pairs.high) };
function floats(text) {
  const raw = atob(text), view = new DataView(new ArrayBuffer(raw.length));
  for (let k = 0; k < raw.length; k += 1) view.setUint8(k, raw.charCodeAt(k));
  return Array.from({ length: raw.length / 4 }, (_, k) => view.getFloat32(4 * k, true));
}

// A − B in one measure with its interval; null where the two cannot be compared.
function difference(name, a, b) {
  const m = pairs.measures.indexOf(name), [i, j] = [pairs.place.get(a), pairs.place.get(b)];
  if (m < 0 || i === undefined || j === undefined) return null;
  const value = pairs.means[i][m] === null || pairs.means[j][m] === null ? null : pairs.means[i][m] - pairs.means[j][m];
  if (i === j) return { value, low: 0, high: 0 };
  const [p, q] = i < j ? [i, j] : [j, i], count = pairs.trials.length;
  const at = (p * count - (p * (p + 1)) / 2 + (q - p - 1)) * pairs.measures.length + m;
  const [low, high] = i < j ? [pairs.low[at], pairs.high[at]] : [-pairs.high[at], -pairs.low[at]];
  return Number.isFinite(low) && Number.isFinite(high) ? { value, low, high } : { value, low: null, high: null };
}
function verdict(column, found) {
  if (!found || found.value === null) return 'unknown';
  if (column.is_static) return 'exact';
  if (found.low === null) return 'unknown';
  if (found.low <= 0 && found.high >= 0) return 'tied';
  return (column.direction === 'minimize' ? found.value < 0 : found.value > 0) ? 'better' : 'worse';
}
const between = (column, found) => {
  if (!found || found.low === null || column.is_static) return '';
  const end = (v) => signed(column, v).replace(' points', '');
  return `${end(found.low)} to ${end(found.high)}${column.unit === 'fraction' ? ' points' : ''}`;
};

function startBudget() {
  const place = byId('budget-body');
  if (!model.budgets.length) { place.replaceChildren(h('p', {}, 'There is no front to choose from yet.')); return; }
  const costs = [...new Set(model.budgets.map((b) => b.cost))], scores = [...new Set(model.budgets.map((b) => b.score))];
  const asked = { cost: (model.budgets.find((b) => b.is_objective) ?? model.budgets[0]).cost, score: scores[0], limit: null };
  const answer = h('div', { class: 'answer', 'aria-live': 'polite' }), chart = h('div'), note = h('p', { class: 'soft' });
  const slider = h('input', { type: 'range', id: 'budget-slider', min: 0, max: 1000, step: 1, 'aria-label': 'Budget' });
  const field = h('input', { type: 'text', id: 'budget-field', size: 10, 'aria-label': 'Budget as a number', inputmode: 'decimal' });
  const pick = (key, names) => h('select', { id: `budget-${key}`, change: (e) => { asked[key] = e.target.value; if (key === 'cost') asked.limit = null; show(); } }, names.map((n) => h('option', { value: n, selected: n === asked[key] }, columns.get(n).title)));
  place.replaceChildren(h('div', { class: 'ask' }, h('label', {}, 'Best', pick('score', scores)), h('label', {}, 'within', pick('cost', costs)), field, h('div', { class: 'slider' }, slider)), answer, chart, note);
  const current = () => model.budgets.find((b) => b.cost === asked.cost && b.score === asked.score);
  const bounds = () => {
    const known = front.map((i) => valueOf(asked.cost, i)).filter((v) => v !== null);
    return [Math.min(...known), Math.max(...known) * 1.02];
  };
  const spread = (share) => { const [low, high] = bounds(); return low > 0 ? low * (high / low) ** share : low + share * (high - low); };
  const shareOf = (limit) => { const [low, high] = bounds(); return low > 0 ? Math.log(limit / low) / Math.log(high / low || 2) : (limit - low) / (high - low || 1); };
  slider.addEventListener('input', () => { asked.limit = Math.round(spread(slider.value / 1000)); show(slider); });
  field.addEventListener('change', () => { const value = amount(field.value); if (value > 0) { asked.limit = value; show(field); } });
  const best = (limit) => current().steps.filter(([from]) => from <= limit).at(-1)?.[1] ?? null;
  let redraw = null, last = '';

  function show(by) {
    const cost = columns.get(asked.cost), score = columns.get(asked.score), budget = current();
    if (asked.limit === null) asked.limit = Math.round(spread(0.5));
    if (by !== slider) slider.value = Math.round(1000 * Math.max(0, Math.min(1, shareOf(asked.limit))));
    if (by !== field) field.value = cost.unit === 'bytes' ? bytes(asked.limit) : count(asked.limit);
    const limit = asked.limit, more = limit * budget.more, now = best(limit), then = best(more);
    slider.setAttribute('aria-valuetext', `${fmt(cost, limit)} ${cost.title}`);
    const card = (kind, heading, number) => h('div', { class: kind, 'data-trial': number ?? '' }, h('span', { class: 'soft' }, heading), ...(number === null ? [h('b', {}, 'nothing fits'), h('span', { class: 'soft' }, `the smallest needs ${fmt(cost, bounds()[0])}`)] : [
      h('b', {}, fmt(score, valueOf(score.name, placeOf.get(number))), h('small', { class: 'soft' }, rangeText(score, placeOf.get(number)))), h('span', {}, `trial ${number}, with ${fmt(cost, valueOf(cost.name, placeOf.get(number)))} ${cost.title} `), h('button', { type: 'button', class: 'quiet', click: () => { select(placeOf.get(number)); byId('explore').scrollIntoView(); } }, 'Show')]));
    answer.replaceChildren(card('now', `Within ${fmt(cost, limit)} ${cost.title}, best ${score.title}`, now),
      card('then', `With 20 % more (${fmt(cost, more)})`, then), h('div', { class: 'gain' }, h('span', { class: 'soft' }, 'What it buys'), ...gain(score, now, then)));
    note.textContent = budget.is_objective ? '' : `${cost.title} was no objective of this search: this is the best of the front, and networks off the front may need less.`;
    if (last !== `${asked.cost} ${asked.score}` || by) drawSteps(cost, score, budget);
    last = `${asked.cost} ${asked.score}`;
  }

  function gain(score, now, then) {
    if (now === null || then === null) return [h('b', {}, '–')];
    if (now === then) return [h('b', {}, 'nothing'), h('span', {}, 'The same network is still the best.')];
    const found = difference(score.name, then, now), said = verdict(score, found);
    const words = { better: 'surely better: the 95 % interval excludes 0', worse: 'surely worse in other trainings or images', tied: 'not told apart: the 95 % interval holds 0', exact: 'exact: no training changes it', unknown: 'no interval can be given' }[said];
    const value = found?.value ?? valueOf(score.name, placeOf.get(then)) - valueOf(score.name, placeOf.get(now));
    return [h('b', { class: said === 'better' ? 'plus' : said === 'worse' ? 'minus' : '' }, signed(score, value)), h('span', {}, [between(score, found), words].filter(Boolean).join('; '))];
  }

  function drawSteps(cost, score, budget) {
    const end = bounds()[1] * 1.05;
    const numbers = budget.steps.map(([, number]) => placeOf.get(number));
    const xs = [...budget.steps.map(([from]) => from), Math.max(end, asked.limit * budget.more)];
    const extend = (values) => [...values, values.at(-1)];
    const low = numbers.map((i) => endOf(score.name, 'low', i)), high = numbers.map((i) => endOf(score.name, 'high', i));
    const known = low.every((v) => v !== null) && !score.is_static;
    const line = { x: xs, y: extend(numbers.map((i) => valueOf(score.name, i))), ...(known ? { low: extend(low), high: extend(high) } : {}), colour: 'var(--front)', stepped: true, label: 'best within the budget', notes: extend(numbers.map((i) => `trial ${trials.number[i]}`)), dots: false };
    const marks = [{ x: asked.limit, colour: 'a', text: 'budget' }, { x: asked.limit * budget.more, colour: 'b', text: '+20 %', below: true }];
    const options = { height: 250, label: { x: cost.title, y: `best ${score.title}${known ? ' with its 95 % interval' : ''}` }, text: { x: (v) => fmt(cost, v, true), y: (v) => (score.unit === 'fraction' ? `${Number((100 * v).toPrecision(3))} %` : fmt(score, v)) }, marks, log: true };
    const inner = h('div');
    chart.replaceChildren(inner);
    redraw = lineChart(inner, [line], options);
  }
  show();
}

function startCompare() {
  const place = byId('compare-body');
  if (pairs.trials.length < 2) { place.replaceChildren(h('p', {}, 'At least two networks on the front are needed.')); return; }
  const first = state.a ?? placeOf.get(model.picked?.trial ?? pairs.trials[0]);
  const usable = (i) => i !== null && pairs.place.has(trials.number[i]);
  state.a = usable(first) ? first : placeOf.get(pairs.trials[0]);
  if (!usable(state.b)) {
    const sign = firstScore.direction === 'maximize' ? -1 : 1;
    const others = front.filter((i) => i !== state.a && usable(i)).sort((i, j) => sign * (valueOf(firstScore.name, i) - valueOf(firstScore.name, j)));
    state.b = others[0];
  }
  const body = h('tbody'), note = h('div'), words = h('p', { class: 'lead', 'aria-live': 'polite', id: 'compare-words' });
  const sorted = [...pairs.trials].sort((p, q) => p - q);
  const pick = (key) => h('select', { id: `compare-${key}`, change: (e) => change({ [key]: placeOf.get(Number(e.target.value)) }) }, sorted.map((n) => h('option', { value: n }, `trial ${n}`)));
  const [a, b] = [pick('a'), pick('b')];
  const swap = h('button', { type: 'button', class: 'quiet', click: () => change({ a: state.b, b: state.a }) }, 'Swap');
  const head = h('tr', {}, h('th', { class: 'left' }, ''), h('th', {}, 'A'), h('th', {}, 'B'), h('th', {}, 'A − B'), h('th', {}, '95 % interval'), h('th', { class: 'left' }, 'Better'));
  place.replaceChildren(h('div', { class: 'ask' }, h('label', {}, h('b', { style: 'color:var(--a)' }, 'A'), a), h('label', {}, h('b', { style: 'color:var(--b)' }, 'B'), b), swap, h('span', { class: 'soft' }, 'Shift-click a mark to make it B.')), words,
    h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, head), body)), note);
  const said = { better: 'A', worse: 'B', tied: 'not told apart', unknown: 'no interval can be given' };

  function draw() {
    const [na, nb] = [state.a, state.b].map((i) => trials.number[i]);
    a.value = na; b.value = nb;
    const comparable = usable(state.a) && usable(state.b);
    const names = [...pairs.measures, ...model.columns.filter((c) => c.kind === 'cost' && !pairs.measures.includes(c.name)).map((c) => c.name)];
    const found = names.map((name) => {
      const c = columns.get(name), own = difference(name, na, nb);
      const [va, vb] = own ? [na, nb].map((n) => pairs.means[pairs.place.get(n)][pairs.measures.indexOf(name)]) : [valueOf(name, state.a), valueOf(name, state.b)];
      const value = own?.value ?? (va === null || vb === null ? null : va - vb);
      const result = verdict(c, own ?? (c.is_static ? { value } : null));
      const exact = value === 0 ? 'the same' : (c.direction === 'minimize') === (value < 0) ? 'A' : 'B';
      return { c, va, vb, value, own, result, text: result === 'exact' ? exact : said[result] };
    });
    body.replaceChildren(...found.map(({ c, va, vb, value, own, result, text }) => h('tr', { 'data-measure': c.name },
      h('td', { class: 'left' }, c.title + arrow(c)), h('td', {}, fmt(c, va)), h('td', {}, fmt(c, vb)), h('td', { 'data-value': value }, signed(c, value)),
      h('td', { 'data-low': own?.low ?? '', 'data-high': own?.high ?? '' }, result === 'exact' ? 'exact' : between(c, own) || '–'),
      h('td', { class: `left ${text === 'A' ? 'is-a' : text === 'B' ? 'is-b' : ''}` }, text))));
    const wins = (kind) => found.filter(({ text }) => text === kind).map(({ c }) => c.title);
    const winner = (who, list) => (list.length ? `${who} is better in ${list.join(', ')}. ` : '');
    const open = wins('not told apart');
    words.textContent = na === nb ? 'A and B are the same network.' : winner(`A (trial ${na})`, wins('A')) + winner(`B (trial ${nb})`, wins('B')) + (open.length ? `Not told apart: ${open.join(', ')}.` : '');
    const notes = [...pairs.notes, ...(comparable ? [] : ['One of the two is not on the front: it met fewer attacks, so there is no fair comparison of its scores.']),
      'Both networks saw the same images, so their difference is surer than their own intervals look. Every row is tested by itself.'];
    note.replaceChildren(...notes.map((text) => h('p', { class: 'soft' }, sentence(text).replace(/[^.]$/, '$&.'))));
  }
  views.push((what) => { if (what.has('a') || what.has('b')) draw(); });
  draw();
}
