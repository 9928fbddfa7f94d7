// Summary, progress, choices, baseline, retrained networks, method.

function startSummary() {
  byId('title').textContent = model.title;
  byId('tiles').replaceChildren(...model.tiles.map((tile) => h('div', { class: 'tile' }, h('span', {}, tile.label), h('b', {}, tile.value), h('span', {}, tile.note))));
  byId('searched').replaceChildren(...paragraphs(model.searched));
  byId('found').replaceChildren(...paragraphs(model.found));
  const warned = model.warnings;
  const ties = model.ties.map((text) => h('p', { class: 'warn' }, `${sentence(text)}.`));
  byId('trust').replaceChildren(...ties, warned.length
    ? h('div', { class: 'warn' }, h('p', {}, 'Before you trust these numbers:'), h('ul', {}, warned.map((text) => h('li', {}, `${text} `, ...carriers(text)))))
    : front.length ? h('p', { class: 'good' }, `Trust: ${[...new Set(front.map((i) => trials.texts[trials.trust[i]]))].join('; ')}.`) : '');
  const titles = { explore: 'Trials', budget: 'Within a budget', compare: 'A against B', progress: 'Progress', choices: 'Choices', baseline: 'Baseline', retrained: 'Retrained', method: 'Method' };
  byId('nav').replaceChildren(...Object.entries(titles).filter(([id]) => !byId(id).hidden).map(([id, text]) => h('a', { href: `#${id}`, click: (e) => { e.preventDefault(); byId(id).scrollIntoView(); } }, text)));
  if (model.refresh) {
    const live = byId('live');
    live.hidden = false;
    live.textContent = `searching: ${model.state.done} of ${model.state.target} trained, page reads itself again every ${model.refresh} s`;
    let touched = 0; // nobody loses an open menu
    for (const event of ['pointerdown', 'keydown', 'wheel']) addEventListener(event, () => { touched = Date.now(); }, { passive: true });
    setInterval(() => { if (document.visibilityState === 'visible' && Date.now() - touched > 5000) location.reload(); }, 1000 * model.refresh);
  }
}

// Members of the front that carry a warning, to be clicked.
function carriers(text) {
  const some = front.filter((i) => trials.warnings[i].some((t) => trials.texts[t] === text));
  const shown = some.slice(0, 12).map((i) => h('button', { type: 'button', class: 'quiet', click: () => { select(i); byId('explore').scrollIntoView(); } }, String(trials.number[i])));
  return [`(${some.length === front.length ? 'all members of the front' : `${some.length} of ${front.length} on the front`}: `, ...shown, some.length > 12 ? ' …)' : ')'];
}

function startProgress() {
  const { trial, hypervolume, seconds, front: sizes, words } = model.progress;
  const place = byId('progress-body');
  if (!trial.length) { place.replaceChildren(h('p', {}, words)); return; }
  const chart = h('div');
  const draw = (byTime) => {
    const inner = h('div');
    chart.replaceChildren(inner);
    const line = { x: byTime ? seconds : trial, y: hypervolume, label: 'hypervolume', colour: 'var(--front)', stepped: true, notes: trial.map((n, i) => `after trial ${n}: ${sizes[i]} on the front`) };
    lineChart(inner, [line], { label: { x: byTime ? 'training and scoring time, summed over the trials' : 'trial', y: 'hypervolume' }, text: { x: byTime ? duration : (v) => significant(v), y: (v) => String(Number(v.toPrecision(4))) } });
  };
  const choose = (text, byTime) => h('button', { type: 'button', 'aria-pressed': String(!byTime), click: (e) => { for (const b of buttons) b.setAttribute('aria-pressed', String(b === e.target)); draw(byTime); } }, text);
  const buttons = [choose('by trial', false), choose('by time', true)];
  const last = hypervolume.at(-1), half = hypervolume.findIndex((v) => v >= 0.99 * last);
  const said = last > 0 ? `The hypervolume, one number for how good the whole front is, reached ${Number(last.toPrecision(4))}; 99 % of that was reached after trial ${trial[half]} of ${trial.at(-1)}. ` : '';
  place.replaceChildren(h('div', { class: 'buttons' }, buttons), chart, h('p', { class: 'soft' }, `${said}It is the ${words}. A line that still rises at its end says: search on.`));
  draw(false);
}

function startChoices() {
  const cards = model.choices.map((found) => {
    const card = h('div', { class: 'card' }, h('h3', {}, found.title[0].toUpperCase() + found.title.slice(1)), paragraphs(found.sentences));
    if (found.choices.length) {
      const place = h('div');
      card.append(place, h('p', { class: 'soft' }, `Share of the differences between networks that each choice explains; lines: 95\u00a0% intervals over networks. Compared under ${found.compared_under}.`));
      queueMicrotask(() => drawn(place, (width) => place.replaceChildren(bars(found.choices, width))));
    }
    return card;
  });
  byId('choices').hidden = !cards.length;
  byId('choices-body').replaceChildren(...cards);
}

function bars(choices, width) {
  const row = 24, left = 96, x = scale(Math.min(0, ...choices.map((c) => c.share_low)), Math.max(0.05, ...choices.map((c) => c.share_high)), left, width - 20);
  const height = choices.length * row + 30;
  const svg = s('svg', { class: 'bars', height, viewBox: `0 0 ${width} ${height}`, width: '100%', role: 'img', 'aria-label': 'Share of the variance by choice' });
  for (const tick of x.ticks(Math.max(2, Math.floor(width / 110)))) svg.append(s('line', { class: 'grid', x1: x(tick), x2: x(tick), y1: 0, y2: height - 22 }), s('text', { x: x(tick), y: height - 6, 'text-anchor': 'middle' }, `${Math.round(100 * tick)} %`));
  choices.forEach((one, k) => {
    const y = k * row + 4;
    svg.append(s('text', { class: 'label', x: left - 8, y: y + 13, 'text-anchor': 'end' }, one.choice.replaceAll('_', ' ')),
      s('rect', { x: Math.min(x(0), x(one.share)), y: y + 2, height: 13, width: Math.max(1, Math.abs(x(one.share) - x(0))), opacity: one.share_low > 0.01 ? 0.85 : 0.3 }),
      s('line', { class: 'range', x1: x(one.share_low), x2: x(one.share_high), y1: y + 8.5, y2: y + 8.5 }));
  });
  return svg;
}

function startBaseline() {
  const place = byId('baseline-body'), found = model.baseline;
  if (!found) { place.replaceChildren(h('p', { class: 'soft' }, 'Uniform networks (one width multiplier and one expand ratio for all layers) are the fair comparison: train them with ', h('code', {}, 'nas sweep CONFIG --uniform'), ', then make this page with ', h('code', {}, '--baseline'), ' and the folder of that sweep.')); return; }
  const { facts } = found, cost = columns.get(facts.cost), score = columns.get(facts.score);
  const head = h('tr', {}, h('th', {}, `${cost.title} ≤`), h('th', { class: 'left' }, found.kind), h('th', {}, score.title), h('th', {}, 'searched'), h('th', {}, score.title), h('th', {}, 'difference'), h('th', {}, '95 % interval'));
  const rows = facts.steps.map((step) => h('tr', {}, h('td', {}, fmt(cost, step.limit)), h('td', { class: 'left' }, step.baseline.label), h('td', {}, fmt(score, step.baseline.score)), h('td', {}, `trial ${step.searched.trial}`), h('td', {}, fmt(score, step.searched.score)),
    h('td', { class: step.low > 0 || step.high < 0 ? ((step.difference > 0) === (score.direction === 'maximize') ? 'plus' : 'minus') : '' }, signed(score, step.difference)), h('td', {}, between(score, step))));
  const chart = h('div'), xs = [...facts.steps.map((step) => step.limit), 1.15 * (facts.steps.at(-1)?.limit ?? 1)];
  const lineOf = (label, tone, side, dashed) => ({ x: xs, y: [...facts.steps, facts.steps.at(-1)].map((step) => step[side].score), label, colour: `var(--${tone})`, stepped: true, dots: true, dashed });
  const key = (tone, text) => h('span', { class: 'key' }, h('span', { class: 'swatch', style: `background:var(--${tone})` }), text);
  if (facts.steps.length) queueMicrotask(() => lineChart(chart, [lineOf(found.kind, 'uniform', 'baseline', true), lineOf('searched', 'front', 'searched', false)],
    { label: { x: cost.title, y: `best ${score.title} within the budget` }, text: { x: (v) => fmt(cost, v, true), y: (v) => fmt(score, v) }, log: true }));
  place.replaceChildren(h('p', {}, key('front', 'searched'), key('uniform', `${found.kind} (dashed)`)), chart, h('p', {}, `Best searched network against the best ${found.kind} one (${found.run}), within the same ${cost.title}.`), h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, head), h('tbody', {}, rows))), ...found.words.map((text) => h('p', { class: 'soft' }, text)));
}

function startRetrained() {
  byId('retrained').hidden = !model.retrained.length;
  const cost = columns.get('params'), head = ['trial', 'parameters', 'natural', 'robust'].map((text) => h('th', {}, text));
  const rows = model.retrained.map((one) => h('tr', {}, h('td', {}, one.name.replace(/^0+(?=\d)/, '')), h('td', {}, placeOf.has(one.trial) ? fmt(cost, valueOf('params', placeOf.get(one.trial))) : '–'),
    h('td', {}, percent(one.natural, one.natural_interval)), h('td', {}, percent(one.robust, one.robust_interval)),
    h('td', { class: 'left long' }, h('span', { class: one.trusted ? 'soft' : 'minus' }, one.trusted ? one.trust : one.verdict), one.warnings.map((text) => h('div', { class: 'warn' }, text)))));
  byId('retrained-body').replaceChildren(
    h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, h('tr', {}, head, h('th', { class: 'left' }, 'may that be believed?'))), h('tbody', {}, rows))),
    h('p', { class: 'soft' }, 'On the test images, with 95\u00a0% intervals, after long training. These scores are not for choosing: the best of several looks better than it is.'),
    h('h3', {}, 'Take them to a device'), command(model.command.export));
}

function startMethod() {
  const objectives = model.columns.filter((c) => c.kind === 'objective' || c.kind === 'cost' || c.name === 'natural_accuracy');
  byId('method-body').replaceChildren(
    h('h3', {}, 'Attacks and images'), ...paragraphs(model.protocols),
    h('p', {}, 'All scores of the search are of brief trainings on validation images: they rank networks. The test images are used once, by the command that retrains a network.'),
    model.notes.length ? h('h3', {}, 'What must be said about the front') : null, h('ul', {}, model.notes.map((text) => h('li', {}, text))),
    h('h3', {}, 'What the numbers mean'), h('dl', {}, objectives.filter((c) => c.meaning).map((c) => [h('dt', {}, h('b', {}, c.title), ` – ${better(c)}`), h('dd', {}, c.meaning)])),
    model.classes.length ? h('p', { class: 'soft' }, `Classes of the images: ${model.classes.join(', ')}.`) : null,
    h('details', {}, h('summary', {}, 'The whole config of this run'), h('pre', {}, model.config)));
}
