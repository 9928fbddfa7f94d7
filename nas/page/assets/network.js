// The selected trial: what it scored, how sure that is, its network drawn, the command that trains it for long.

function startDetail() {
  const place = byId('detail');
  function draw() {
    const i = state.selected;
    if (i === null) { place.replaceChildren(h('p', { class: 'soft' }, 'Click a trial to see its network.')); return; }
    const number = trials.number[i], isPicked = model.picked?.trial === number;
    const parts = [h('h2', {}, `Trial ${number}`, h('span', { class: `badge ${groupOf(i)}` }, GROUPS[groupOf(i)]), number === model.knee ? h('span', { class: 'badge' }, 'balanced choice') : null)];
    if (isPicked && number !== model.knee) parts.push(h('p', { class: 'soft' }, `Picked: ${model.picked.reason}`));
    const warned = [...trials.warnings[i].map((t) => trials.texts[t]), ...trials.broken[i]];
    if (warned.length) parts.push(h('div', { class: 'warn' }, h('p', {}, 'Read these numbers with care:'), h('ul', {}, warned.map((text) => h('li', {}, text)))));
    parts.push(h('dl', { class: 'facts' }, measured.filter((c) => c.kind !== 'choice' && !c.title.includes("paper's") && valueOf(c.name, i) !== null).slice(0, 14)
      .map((c) => [h('dt', { title: c.meaning }, c.title), h('dd', {}, fmt(c, valueOf(c.name, i)), h('small', { class: 'soft' }, rangeText(c, i)))])));
    for (const [name, threat, value, low, high] of trials.threats[i] ?? []) {
      parts.push(h('p', { class: 'soft' }, `Under ${name} (${threat}): robust ${(100 * value).toFixed(1)} % (${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)}).`));
    }
    if (trials.seeds[i]) parts.push(h('p', { class: 'soft' }, seedsText(i)));
    if (tiesOf(i)) parts.push(tiesOf(i));
    parts.push(!pairs.place.has(trials.number[i]) ? h('p', { class: 'soft' }, 'Members of the front can be compared: they met the same attacks.') : h('div', { class: 'buttons' }, h('button', { type: 'button', click: () => change({ a: i }) }, 'Compare as A'), h('button', { type: 'button', click: () => change({ b: i }) }, 'Compare as B')));
    if (groupOf(i) !== 'failed') parts.push(h('h3', {}, 'Train it for long, then test it'), command(`${model.command.retrain}${number}`));
    if (trials.error[i]) parts.push(h('details', { open: true }, h('summary', {}, 'Error'), h('pre', {}, trials.error[i])));
    place.replaceChildren(...parts);
    drawNetwork(i);
    drawTraining(i);
  }
  views.push((what) => { if (what.has('selected')) draw(); });
  draw();
}

function drawNetwork(i) {
  const blocks = model.networks.of[trials.key[i]];
  byId('drawn').replaceChildren(h('h2', {}, `The network of trial ${trials.number[i]}`), h('p', { class: 'soft' }, `Widths are channels; ${model.networks.weight_bits}-bit weights, ${model.networks.activation_bits}-bit activations; orange: the block that needs most memory. ${trials.genotype[i]}`), ...(blocks ? [h('div', { class: 'scroll' }, drawing(blocks))] : []));
}

function drawTraining(i) {
  const number = trials.number[i], curve = model.curves[number], place = h('div'), parts = [h('h2', {}, 'Training and trust')];
  if (curve) parts.push(place);
  if (trials.trust[i] !== null) parts.push(h('h3', {}, 'Can its numbers be trusted?'), h('p', {}, `${sentence(trials.texts[trials.trust[i]])}.`), h('p', { class: 'soft' }, `Attacks in turn: ${trials.texts[trials.attacks[i]]}.`));
  else parts.push(h('p', { class: 'soft' }, 'It was not scored.'));
  for (const one of model.retrained.filter((r) => r.trial === number)) parts.push(h('h3', {}, `Retrained: ${one.name}`), retrainedText(one));
  byId('trained').replaceChildren(...parts);
  if (curve) drawCurve(place, curve);
}
const sentence = (text) => text[0].toUpperCase() + text.slice(1);

function seedsText(i) {
  const seeds = trials.seeds[i], first = columns.get(model.objectives[0]);
  const values = seeds.values[first.name] ?? [];
  return `Means of ${seeds.count} trainings from different seeds; ${first.title}: ${values.map((v) => fmt(first, v)).join(', ')} (the search's own first).`;
}

// Members of the front that the first objective cannot tell from this one.
function tiesOf(i) {
  const name = pairs.measures.find((m) => !columns.get(m).is_static);
  if (!name || !pairs.place.has(trials.number[i]) || pairs.trials.length < 2) return null;
  const tied = pairs.trials.filter((other) => other !== trials.number[i] && verdict(columns.get(name), difference(name, trials.number[i], other)) === 'tied');
  if (!tied.length) return h('p', { class: 'soft' }, `Its ${columns.get(name).title} differs surely from that of every other member of the front.`);
  const shown = tied.slice(0, 12).map((other) => h('button', { type: 'button', class: 'quiet', click: () => select(placeOf.get(other)) }, String(other)));
  return h('p', { class: 'soft' }, `In ${columns.get(name).title} not told apart from ${tied.length} of the front: `, ...shown, tied.length > 12 ? ' …' : '');
}

function command(text) {
  const code = h('code', {}, text);
  const copy = h('button', { type: 'button', click: async () => {
    try { await navigator.clipboard.writeText(text); copy.textContent = 'Copied'; }
    catch { const range = document.createRange(); range.selectNodeContents(code); getSelection().removeAllRanges(); getSelection().addRange(range); copy.textContent = 'Selected'; }
  } }, 'Copy');
  return h('div', { class: 'command' }, code, copy);
}

const KINDS = { conv: 'convolution', inverted_residual: 'inverted residual', separable: 'separable', residual: 'residual', resnet: 'residual (ResNet)', linear: 'pooling, classifier' };

// Blocks from input to answer: channels as widths, and a meter for what each needs.
function drawing(blocks) {
  const width = 600, row = 44, head = 36, middle = 88;
  const of = (block, field) => block[model.networks.fields.indexOf(field)];
  const widest = Math.max(...blocks.flatMap((b) => [of(b, 'in'), of(b, 'hidden'), of(b, 'out')]));
  const wide = (channels) => 8 + 126 * Math.sqrt(channels / widest);
  const most = Object.fromEntries(['params', 'macs', 'activation_bytes'].map((f) => [f, Math.max(...blocks.map((b) => of(b, f)))]));
  const [channels, tall, across] = model.networks.input;
  const height = head + row * blocks.length + 8;
  const svg = s('svg', { class: 'drawing', viewBox: `0 0 ${width} ${height}`, width: '100%', role: 'img', 'aria-label': `Drawing of the network: ${blocks.length - 1} blocks and a classifier` });
  svg.append(s('text', { x: middle, y: 14, 'text-anchor': 'middle' }, `image ${tall}×${across}, ${channels} ch.`),
    s('text', { x: 410, y: 14 }, 'params'), s('text', { x: 474, y: 14 }, 'MACs'), s('text', { x: 538, y: 14 }, 'RAM'));
  blocks.forEach((block, k) => {
    const y = head + k * row, [a, mid, b] = [of(block, 'in'), of(block, 'hidden') || of(block, 'out'), of(block, 'out')].map(wide);
    const path = `M${middle - a / 2} ${y}L${middle + a / 2} ${y}L${middle + mid / 2} ${y + 13}L${middle + mid / 2} ${y + 19}L${middle + b / 2} ${y + 32}L${middle - b / 2} ${y + 32}L${middle - mid / 2} ${y + 19}L${middle - mid / 2} ${y + 13}Z`;
    svg.append(s('path', { class: 'part', d: path }));
    if (of(block, 'shortcut')) svg.append(s('path', { class: 'skip-arc', d: `M${middle - a / 2} ${y + 1}C${middle - 86} ${y + 4} ${middle - 86} ${y + 28} ${middle - b / 2} ${y + 31}` }));
    const hidden = of(block, 'hidden'), flow = [of(block, 'in'), ...(hidden && hidden !== of(block, 'out') && hidden !== of(block, 'in') ? [hidden] : []), of(block, 'out')];
    const kernel = of(block, 'kernel') ? `${String(of(block, 'kernel')).includes('×') ? of(block, 'kernel') : `${of(block, 'kernel')}×${of(block, 'kernel')}`}${String(of(block, 'stride')) === '1' ? '' : `, stride ${of(block, 'stride')}`}` : '';
    svg.append(s('text', { class: 'main', x: 184, y: y + 14 }, `${KINDS[of(block, 'kind')] ?? of(block, 'kind')}`),
      s('text', { x: 184, y: y + 29 }, [kernel, flow.join('→'), of(block, 'kind') === 'linear' ? '' : `${of(block, 'height')}×${of(block, 'width')}`].filter(Boolean).join(' · ')),
      s('title', {}, `${of(block, 'kind')}: ${flow.join(' → ')} channels, ${count(of(block, 'params'))} parameters, ${count(of(block, 'macs'))} MACs, ${bytes(of(block, 'activation_bytes'))} of activations`));
    [['params', 410, compact], ['macs', 474, compact], ['activation_bytes', 538, bytes]].forEach(([field, x, text]) => {
      const value = of(block, field), peak = field === 'activation_bytes' && value === most[field];
      svg.append(s('text', { x, y: y + 14 }, text(value)), s('rect', { class: `meter${peak ? ' peak' : ''}`, x, y: y + 20, height: 6, width: Math.max(1, (54 * value) / (most[field] || 1)) }));
    });
  });
  return svg;
}

function drawCurve(place, curve) {
  const lines = ['train', 'natural', 'robust'].filter((key) => curve[key]).map((key) => ({
    x: curve.epoch, y: curve[key], label: { train: 'training images', natural: 'natural', robust: 'robust' }[key],
    colour: { train: 'var(--other)', natural: 'var(--b)', robust: 'var(--front)' }[key],
  }));
  if (lines[0].y.every((v) => v === null)) return;
  const chart = h('div');
  place.append(chart);
  lineChart(chart, lines, { height: 190, label: { x: 'epoch', y: lines.length > 1 ? 'accuracy' : 'accuracy on the training images' }, text: { x: (v) => significant(v), y: (v) => `${Number((100 * v).toPrecision(3))} %` } });
  place.append(h('p', { class: 'soft' }, lines.map((line) => h('span', { class: 'key' }, h('span', { class: 'swatch', style: `background:${line.colour}` }), line.label)),
    `Loss ${significant(curve.loss[0] ?? NaN)} after epoch ${curve.epoch[0]}, ${significant(curve.loss.at(-1) ?? NaN)} after epoch ${curve.epoch.at(-1)}.`));
}

const percent = (value, ends) => `${(100 * value).toFixed(1)} % (${(100 * ends.low).toFixed(1)}–${(100 * ends.high).toFixed(1)})`;

function retrainedText(one) {
  return h('div', {}, h('p', {}, `Test images: natural ${percent(one.natural, one.natural_interval)}, robust ${percent(one.robust, one.robust_interval)}.`),
    h('p', { class: one.trusted ? 'soft' : 'warn' }, one.verdict), one.warnings.map((text) => h('p', { class: 'warn' }, text)));
}
