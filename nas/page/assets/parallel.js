// Parallel coordinates: a line per trial over all chosen columns, with a range to be dragged on every axis.

function startParallel() {
  const place = byId('parallel');
  const height = 330, top = 74, bottom = height - 34, lost = height - 12;
  let canvas, pen, svg, names = [], maps = {}, at = {}, width = 0, brushes = {}, dragging = null;
  // A little, always the same, to one side: lines that share an option of a choice stay apart.
  const spread = trials.number.map((number) => (((number * 2654435761) % 1000) / 1000 - 0.5) * 0.36);
  const shownValue = (column, i) => { const value = valueOf(column.name, i); return value === null ? null : column.kind === 'choice' ? value + spread[i] : value; };
  const yOf = (column, i) => { const value = shownValue(column, i); return value === null ? lost : maps[column.name](value); };

  function build(now) {
    names = state.axes.filter((name) => columns.has(name));
    const step = Math.max(66, (now - 96) / Math.max(1, names.length - 1));
    width = Math.max(now, 96 + step * (names.length - 1));
    canvas = h('canvas');
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    pen = canvas.getContext('2d');
    pen.scale(ratio, ratio);
    svg = s('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `Parallel coordinates of ${names.length} columns. The number fields above set the same ranges.` });
    brushes = {};
    names.forEach((name, k) => {
      const column = columns.get(name);
      at[name] = 42 + k * step;
      const log = column.is_cost;
      const [low, high] = column.kind === 'choice' ? [-0.4, column.options.length - 0.6] : extent(trials.values[name], 0.02, log);
      maps[name] = scale(low, high, bottom, top, log);
      svg.append(axisOf(column, at[name]));
    });
    place.replaceChildren(canvas, svg);
    listen();
    paint();
  }

  function axisOf(column, px) {
    const group = s('g');
    const lines = wrapped(column.short + arrow(column), 11);
    lines.forEach((line, k) => group.append(s('text', { class: 'name', x: px, y: top - 12 - 13 * (lines.length - 1 - k) }, line)));
    group.append(s('title', {}, `${column.title}${column.meaning ? `: ${column.meaning}` : ''}`));
    group.append(s('line', { class: 'axis', x1: px, x2: px, y1: top, y2: bottom }));
    const marks = column.kind === 'choice' ? column.options.map((_, k) => k) : maps[column.name].ticks(4);
    const every = column.kind === 'choice' ? Math.ceil(marks.length / 8) : 1;
    for (const value of marks.filter((_, k) => k % every === 0)) {
      group.append(s('text', { class: 'tick', x: px + 5, y: maps[column.name](value) + 4 }, column.kind === 'choice' ? column.options[value] : column.unit === 'fraction' ? `${Number((100 * value).toPrecision(3))}%` : fmt(column, value, true)));
    }
    const brush = s('rect', { class: 'brush', x: px - 8, width: 16, visibility: 'hidden' });
    brushes[column.name] = brush;
    group.append(brush, s('rect', { class: 'track', x: px - 20, y: top - 6, width: 40, height: bottom - top + 12, 'data-axis': column.name }));
    return group;
  }

  function paint() {
    pen.clearRect(0, 0, width, height);
    const many = passing.filter((p) => p === 2).length;
    const alpha = Math.max(0.09, Math.min(0.75, 60 / many));
    const stroke = (i, tone, opacity, thick) => {
      pen.strokeStyle = tone; pen.globalAlpha = opacity; pen.lineWidth = thick;
      pen.beginPath();
      names.forEach((name, k) => { const py = yOf(columns.get(name), i); if (k) pen.lineTo(at[name], py); else pen.moveTo(at[name], py); });
      pen.stroke();
    };
    const tones = { front: colour('front'), dominated: colour('other'), other: colour('bad') };
    const toneOf = (i) => (state.colour ? shadeOf(i) : tones[groupOf(i)] ?? tones.other);
    const filtered = Object.keys(state.ranges).length > 0;
    if (filtered) passing.forEach((p, i) => { if (p === 1) stroke(i, tones.dominated, Math.min(0.08, 30 / total), 1); });
    passing.forEach((p, i) => { if (p === 2 && !isFront(i)) stroke(i, toneOf(i), isFeasible(i) ? alpha : alpha * 0.7, 1); });
    passing.forEach((p, i) => { if (p === 2 && isFront(i)) stroke(i, toneOf(i), front.length > 60 ? 0.45 : 0.8, 1.4); });
    for (const [i, tone] of [[state.a, colour('a')], [state.b, colour('b')], [state.hovered, colour('pick')], [state.selected, colour('pick')]]) {
      if (i !== null && passing[i]) stroke(i, tone, i === state.hovered && i !== state.selected ? 0.6 : 1, 2.4);
    }
    pen.globalAlpha = 1;
    if (names.some((name) => trials.values[name].some((v, i) => v === null && passing[i]))) {
      pen.fillStyle = colour('soft'); pen.font = '10.5px system-ui, sans-serif'; pen.fillText('not measured', 4, lost - 6);
    }
    for (const name of names) {
      const range = state.ranges[name], brush = brushes[name];
      brush.setAttribute('visibility', range ? 'visible' : 'hidden');
      if (!range) continue;
      const clip = (v) => Math.max(top, Math.min(bottom, v));
      const [a, b] = range.map((v) => clip(maps[name](v)));
      brush.setAttribute('y', Math.min(a, b));
      brush.setAttribute('height', Math.max(2, Math.abs(a - b)));
    }
  }

  // The trial whose line passes nearest to a point.
  function nearest(px, py) {
    const k = names.findIndex((name, n) => n + 1 < names.length && at[name] <= px && px <= at[names[n + 1]]);
    if (k < 0) return null;
    const [left, right] = [names[k], names[k + 1]];
    const share = (px - at[left]) / (at[right] - at[left]);
    let best = null, least = 9;
    passing.forEach((p, i) => {
      if (p !== 2) return;
      const a = yOf(columns.get(left), i), away = Math.abs(a + share * (yOf(columns.get(right), i) - a) - py);
      if (away < least) { least = away; best = i; }
    });
    return best;
  }

  function listen() {
    const where = (event) => pointIn(svg, event, width, height);
    svg.addEventListener('pointerdown', (event) => {
      const name = event.target.dataset?.axis;
      if (!name || event.button !== 0) return;
      dragging = { name, start: where(event)[1], moved: false };
      if (event.pointerType === 'mouse') svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener('pointermove', (event) => {
      const [px, py] = where(event);
      if (dragging && Math.abs(py - dragging.start) > 4) {
        dragging.moved = true;
        const clip = (v) => Math.max(top, Math.min(bottom, v));
        const ends = [dragging.start, py].map((v) => maps[dragging.name].invert(clip(v))).sort((a, b) => a - b);
        const choice = columns.get(dragging.name).kind === 'choice';
        const whole = [Math.ceil(ends[0] - 0.3), Math.floor(ends[1] + 0.3)];
        setRange(dragging.name, !choice ? ends : whole[0] <= whole[1] ? whole : [Math.round(ends[0]), Math.round(ends[0])]);
        return;
      }
      const i = nearest(px, py);
      if (i !== state.hovered) change({ hovered: i });
      if (i === null) hideHover(); else showHover(event.clientX, event.clientY, ...hoverOf(i));
    });
    svg.addEventListener('pointerup', (event) => {
      if (dragging && !dragging.moved) {
        if (state.ranges[dragging.name]) setRange(dragging.name, null);
        else { const i = nearest(...where(event)); if (i !== null) select(i); }
      } else if (!dragging) { const i = nearest(...where(event)); if (i !== null) select(i); }
      dragging = null;
    });
    svg.addEventListener('pointerleave', () => { hideHover(); if (state.hovered !== null) change({ hovered: null }); });
    svg.addEventListener('pointercancel', () => { dragging = null; });
  }

  const again = drawn(place, build);
  themed.push(paint);
  views.push((what) => { if (what.has('axes')) again(); else if (!(what.size === 1 && (what.has('page') || what.has('sort')))) paint(); });
}

// Words in lines of about `length` characters, three at most.
function wrapped(text, length) {
  const lines = [''];
  for (const word of text.split(' ')) {
    if (lines.at(-1) && (lines.at(-1) + word).length >= length && lines.length < 4) lines.push(word);
    else lines[lines.length - 1] += (lines.at(-1) ? ' ' : '') + word;
  }
  return lines;
}
