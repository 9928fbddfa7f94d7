// The controls above the views, the chips of the ranges, and the table of the trials that pass.

const ROWS = 20;

function startControls() {
  const option = (c, chosen) => h('option', { value: c.name, selected: c.name === chosen }, c.title);
  const groups = [['objective', 'Objectives'], ['cost', 'Costs'], ['score', 'Other scores'], ['choice', 'Choices']];
  const chooser = (key, label, first) => h('label', {}, label, h('select', { id: `choose-${key}`, change: (e) => change({ [key]: e.target.value }) },
    first ? h('option', { value: '' }, first) : null,
    groups.map(([kind, title]) => { const some = model.columns.filter((c) => c.kind === kind); return some.length ? h('optgroup', { label: title }, some.map((c) => option(c, state[key]))) : null; })));
  const box = (key, label) => h('label', {}, h('input', { type: 'checkbox', id: `only-${key}`, checked: state[key], change: (e) => change({ [key]: e.target.checked, page: 0 }) }), label);
  const swap = h('button', { type: 'button', class: 'quiet', click: () => { const { x, y } = state; change({ x: y, y: x }); byId('choose-x').value = state.x; byId('choose-y').value = state.y; } }, 'Swap');
  const axes = h('details', {}, h('summary', {}, 'Axes below'), h('div', { class: 'chips' }, model.columns.filter(varies).map((c) => h('label', { class: 'chip' },
    h('input', { type: 'checkbox', style: 'width:auto', checked: state.axes.includes(c.name), change: (e) => {
      const kept = new Set(state.axes);
      if (e.target.checked) kept.add(c.name); else kept.delete(c.name);
      change({ axes: model.columns.map((one) => one.name).filter((name) => kept.has(name)) });
    } }), `${c.short} `))));
  byId('toolbar').append(chooser('y', 'Up'), chooser('x', 'Across'), swap, chooser('colour', 'Colour by', 'where it stands'),
    box('frontOnly', 'Front only'), box('feasibleOnly', 'Within all limits only'), box('bars', '95 % intervals'), axes);
}

function startChips() {
  const place = byId('chips');
  function draw() {
    if (place.contains(document.activeElement)) { summary(); return; }
    const chips = Object.entries(state.ranges).map(([name, range]) => chip(columns.get(name), range));
    const clear = chips.length ? [h('button', { type: 'button', class: 'quiet', click: () => change({ ranges: {}, page: 0 }) }, 'Clear all filters')] : [];
    const adder = h('select', { 'aria-label': 'Filter by a column', change: (e) => { const c = columns.get(e.target.value); const [low, high] = extentOf(c.name); setRange(c.name, [low, high]); } },
      h('option', { value: '' }, 'Add a filter …'), model.columns.filter((c) => varies(c) && !(c.name in state.ranges)).map((c) => h('option', { value: c.name }, c.title)));
    place.replaceChildren(h('span', { id: 'shown' }), ...chips, adder, ...clear);
    summary();
  }
  function summary() {
    const many = passing.filter((p) => p === 2).length;
    const text = `${many} of ${total} trials shown, ${front.filter((i) => passing[i] === 2).length} of them on the front.`;
    if (byId('shown')) byId('shown').textContent = text;
  }
  function chip(column, range) {
    if (column.kind === 'choice') {
      const pick = (end) => h('select', { 'aria-label': `${end ? 'last' : 'first'} ${column.title}`, change: (e) => setEnd(column, end, Number(e.target.value)) },
        column.options.map((text, k) => h('option', { value: k, selected: k === range[end] }, text)));
      return h('span', { class: 'chip' }, column.title, pick(0), '–', pick(1), drop(column));
    }
    const scaled = column.unit === 'fraction' ? 100 : 1;
    const field = (end) => h('input', { type: 'number', step: 'any', 'aria-label': `${end ? 'most' : 'least'} ${column.title}`,
      value: column.is_cost ? Math.round(range[end]) : Number((range[end] * scaled).toPrecision(4)), change: (e) => { if (e.target.value !== '') setEnd(column, end, Number(e.target.value) / scaled); } });
    return h('span', { class: 'chip' }, column.title, field(0), '–', field(1), scaled === 100 ? '%' : '', drop(column));
  }
  const setEnd = (column, end, value) => { const range = [...state.ranges[column.name]]; range[end] = value; setRange(column.name, range); };
  const drop = (column) => h('button', { type: 'button', 'aria-label': `Remove the filter on ${column.title}`, click: () => { document.activeElement.blur(); setRange(column.name, null); } }, '×');
  views.push((what) => { if (['ranges', 'frontOnly', 'feasibleOnly'].some((key) => what.has(key))) draw(); });
  place.addEventListener('focusout', () => requestAnimationFrame(() => { if (!place.contains(document.activeElement)) draw(); }));
  draw();
}

function startTable() {
  const place = byId('table');
  const shown = [...model.columns.filter((c) => c.kind === 'objective'), ...model.columns.filter((c) => c.kind === 'cost'),
    ...model.columns.filter((c) => c.kind === 'score' && varies(c) && !c.title.includes("paper's"))];
  const ranked = trials.rank.some((rank) => rank !== null);
  const rankTitle = `rank by ${columns.get(model.objectives[0]).short}`;

  function sorted() {
    const sign = state.down ? -1 : 1;
    const key = state.sort === '#' ? (i) => trials.number[i] : (i) => valueOf(state.sort, i);
    const some = trials.number.map((_, i) => i).filter((i) => passing[i] === 2);
    return some.sort((i, j) => {
      const [a, b] = [key(i), key(j)];
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return sign * (a - b) || i - j;
    });
  }

  const heading = (name, text, title = '') => h('th', { scope: 'col', 'aria-sort': state.sort === name ? (state.down ? 'descending' : 'ascending') : 'none', title },
    h('button', { type: 'button', click: () => change(state.sort === name ? { down: !state.down, page: 0 } : { sort: name, down: columns.get(name)?.direction === 'maximize', page: 0 }) },
      text, state.sort === name ? (state.down ? ' ▾' : ' ▴') : ''));

  function draw() {
    const order = sorted();
    const pages = Math.max(1, Math.ceil(order.length / ROWS));
    const page = Math.min(state.page, pages - 1);
    const rows = order.slice(page * ROWS, (page + 1) * ROWS);
    const head = h('tr', {}, heading('#', 'trial'), h('th', { class: 'left' }, 'standing'), ...shown.map((c) => heading(c.name, c.short + arrow(c), c.title)),
      ranked ? h('th', { title: 'Ranks that noise allows; a range is a tie.' }, rankTitle) : null, h('th', { class: 'left' }, 'choices'));
    const body = rows.map((i) => h('tr', { class: `row${i === state.selected ? ' chosen' : ''}`, 'data-trial': trials.number[i], click: () => select(i),
      pointerenter: () => change({ hovered: i }), pointerleave: () => change({ hovered: null }) },
      h('td', {}, h('button', { type: 'button', class: 'quiet', 'aria-label': `Show trial ${trials.number[i]}`, click: (e) => { e.stopPropagation(); select(i); } }, String(trials.number[i])),
        trials.warnings[i].length ? h('span', { title: trials.warnings[i].map((t) => trials.texts[t]).join('\n') }, ' ⚠') : null),
      h('td', { class: 'left' }, h('span', { class: `badge ${groupOf(i)}`, title: GROUPS[groupOf(i)] }, groupOf(i))),
      shown.map((c) => h('td', {}, fmt(c, valueOf(c.name, i)), h('small', {}, rangeText(c, i)))),
      ranked ? h('td', {}, rankText(i)) : null,
      h('td', { class: 'left' }, trials.genotype[i])));
    const turn = (by, text) => h('button', { type: 'button', disabled: page + by < 0 || page + by >= pages, click: () => change({ page: page + by }) }, text);
    place.replaceChildren(h('div', { class: 'scroll' }, h('table', {}, h('thead', {}, head), h('tbody', {}, body))),
      h('div', { class: 'foot' }, turn(-1, 'Back'), `${order.length ? page * ROWS + 1 : 0}–${page * ROWS + rows.length} of ${order.length} trials`, turn(1, 'More')));
  }
  views.push((what) => {
    if (['ranges', 'frontOnly', 'feasibleOnly', 'sort', 'down', 'page'].some((key) => what.has(key))) draw();
    else if (what.has('selected')) for (const row of place.querySelectorAll('tr.row')) row.classList.toggle('chosen', Number(row.dataset.trial) === trials.number[state.selected]);
  });
  draw();
}

function rankText(i) {
  const rank = trials.rank[i];
  return !rank ? '–' : rank[0] === rank[1] ? String(rank[0]) : `${rank[0]}–${rank[1]}`;
}
