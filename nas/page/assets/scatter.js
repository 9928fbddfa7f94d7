// Any two columns against each other: the front, what it beats, what breaks a limit.

function startScatter() {
  const place = byId('scatter');
  const height = 500;
  let svg, x, y, box, marks = [], rings, stepLine, bars, brush, from = null, width = 0, missing = 0;
  const logged = (column) => column.is_cost;

  function build(now) {
    width = now;
    const cx = columns.get(state.x), cy = columns.get(state.y);
    box = { left: 64, right: width - 12, top: 30, bottom: height - 46 };
    const shown = trials.number.map((_, i) => i).filter(allowed);
    const ends = (name) => (state.bars ? shown.filter(isFront).flatMap((i) => [endOf(name, 'low', i), endOf(name, 'high', i)]) : []);
    const of = (name) => [...shown.map((i) => valueOf(name, i)), ...ends(name)];
    x = scale(...extent(of(state.x), 0.04, logged(cx)), box.left, box.right, logged(cx));
    y = scale(...extent(of(state.y), 0.06, logged(cy)), box.bottom, box.top, logged(cy));
    svg = s('svg', { height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: 'application',
      'aria-label': `${cy.title} against ${cx.title}, ${total} trials. Arrow keys go from trial to trial, A and B choose two to compare, Escape clears the filters.` });
    const title = (c) => `${c.title}${c.unit && c.unit !== 'fraction' && !c.is_cost ? ` [${c.unit}]` : ''}${better(c) ? ` (${better(c)})` : ''}`;
    svg.append(axesOf(x, y, box, { x: title(cx), y: title(cy) }, { x: (v) => tickText(cx, v), y: (v) => tickText(cy, v) }));
    stepLine = s('path', { class: 'edge' });
    bars = s('g');
    const layers = Object.fromEntries(['rejected', 'failed', 'halted', 'infeasible', 'dominated', 'front'].map((group) => [group, s('g')]));
    marks = trials.number.map((number, i) => {
      const px = valueOf(state.x, i), py = valueOf(state.y, i);
      if (px === null || py === null) return null;
      const mark = markOf(groupOf(i), x(px), y(py));
      mark.dataset.trial = number;
      layers[groupOf(i)].append(mark);
      return mark;
    });
    rings = s('g');
    brush = s('rect', { class: 'brush', visibility: 'hidden' });
    svg.append(brush, layers.rejected, layers.failed, layers.halted, layers.infeasible, layers.dominated, bars, stepLine, layers.front, rings);
    place.replaceChildren(svg);
    listen();
    missing = shown.filter((i) => marks[i] === null).length;
    paint();
  }
  const tickText = (c, v) => (c.unit === 'fraction' ? `${Number((100 * v).toPrecision(4))} %` : c.kind === 'choice' ? (Number.isInteger(v) ? c.options[v] ?? '' : '') : fmt(c, v, true));

  function markOf(group, px, py) {
    if (group === 'front') return s('circle', { class: 'mark front', cx: px, cy: py, r: 5.5 });
    if (group === 'dominated') return s('circle', { class: 'mark dominated', cx: px, cy: py, r: total > 300 ? 2.7 : 3.4 });
    return s('path', { class: `mark ${group}`, d: `M${px - 3} ${py - 3}l6 6m0 -6l-6 6` });
  }

  function paint() {
    marks.forEach((mark, i) => {
      if (!mark) return;
      mark.style.display = passing[i] ? '' : 'none';
      mark.classList.toggle('faded', passing[i] === 1);
      mark.style.fill = state.colour && isFeasible(i) ? shadeOf(i) : '';
      mark.style.fillOpacity = state.colour && isFeasible(i) ? 1 : '';
    });
    stepLine.setAttribute('d', edgePath());
    bars.replaceChildren(...(state.bars ? front.filter((i) => passing[i] === 2 && marks[i]).flatMap(barsOf) : []));
    paintRings();
    paintBrush();
    legend();
  }

  // Steps through the shown trials that no other one beats in these two columns.
  function edgePath() {
    const cx = columns.get(state.x), cy = columns.get(state.y);
    if (!cx.direction || !cy.direction || cx === cy) return '';
    const sx = cx.direction === 'minimize' ? 1 : -1, sy = cy.direction === 'minimize' ? 1 : -1;
    const some = trials.number.map((_, i) => i).filter((i) => passing[i] === 2 && isFeasible(i) && marks[i]);
    some.sort((i, j) => sx * (valueOf(state.x, i) - valueOf(state.x, j)) || sy * (valueOf(state.y, i) - valueOf(state.y, j)));
    let best = Infinity;
    const kept = some.filter((i) => { const value = sy * valueOf(state.y, i); if (value < best) { best = value; return true; } return false; });
    const points = kept.map((i) => [x(valueOf(state.x, i)), y(valueOf(state.y, i))]);
    return points.map(([px, py], k) => (k ? `H${px.toFixed(1)}V${py.toFixed(1)}` : `M${px.toFixed(1)} ${py.toFixed(1)}`)).join('');
  }

  function barsOf(i) {
    const found = [], px = x(valueOf(state.x, i)), py = y(valueOf(state.y, i));
    const clipped = (at, low, high) => Math.max(low, Math.min(high, at));
    const add = (name, map, line) => {
      const low = endOf(name, 'low', i), high = endOf(name, 'high', i);
      if (low !== null && high !== null && low !== high) found.push(line(map(low), map(high)));
    };
    add(state.y, y, (a, b) => s('line', { class: 'bar', x1: px, x2: px, y1: clipped(a, box.top, box.bottom), y2: clipped(b, box.top, box.bottom) }));
    add(state.x, x, (a, b) => s('line', { class: 'bar', y1: py, y2: py, x1: clipped(a, box.left, box.right), x2: clipped(b, box.left, box.right) }));
    return found;
  }

  function paintRings() {
    const found = [];
    const ring = (i, kind) => { if (i !== null && marks[i] && passing[i]) found.push(s('circle', { class: `ring ${kind}`, cx: x(valueOf(state.x, i)), cy: y(valueOf(state.y, i)), r: 9 })); };
    const letter = (i, text) => { if (i !== null && marks[i] && passing[i]) found.push(s('text', { class: `letter ${text.toLowerCase()}`, x: x(valueOf(state.x, i)) + 8, y: y(valueOf(state.y, i)) - 8 }, text)); };
    if (state.hovered !== state.selected) ring(state.hovered, 'soft');
    ring(state.selected, '');
    letter(state.a, 'A');
    letter(state.b, 'B');
    rings.replaceChildren(...found);
  }

  function paintBrush() {
    const rx = state.ranges[state.x], ry = state.ranges[state.y];
    brush.setAttribute('visibility', rx || ry ? 'visible' : 'hidden');
    if (!rx && !ry) return;
    const clip = (v, a, b) => Math.max(a, Math.min(b, v));
    const [left, right] = rx ? rx.map((v) => clip(x(v), box.left, box.right)) : [box.left, box.right];
    const [bottom, top] = ry ? ry.map((v) => clip(y(v), box.top, box.bottom)) : [box.bottom, box.top];
    for (const [name, value] of Object.entries({ x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) })) brush.setAttribute(name, value);
  }

  function nearest(px, py, reach = 26) {
    let best = null, least = reach ** 2;
    marks.forEach((mark, i) => {
      if (!mark || passing[i] !== 2) return;
      const away = (x(valueOf(state.x, i)) - px) ** 2 + (y(valueOf(state.y, i)) - py) ** 2 - (isFront(i) ? 30 : 0);
      if (away < least) { least = away; best = i; }
    });
    return best;
  }

  function listen() {
    const at = (event) => pointIn(svg, event, width, height);
    svg.addEventListener('pointerdown', (event) => {
      if (event.button === 0 && event.pointerType === 'mouse') { from = at(event); svg.setPointerCapture(event.pointerId); }
    });
    svg.addEventListener('pointermove', (event) => {
      const [px, py] = at(event);
      if (from && Math.hypot(px - from[0], py - from[1]) > 6) {
        hideHover();
        const clip = (v, a, b) => Math.max(a, Math.min(b, v));
        const xs = [from[0], px].map((v) => x.invert(clip(v, box.left, box.right))).sort((a, b) => a - b);
        const ys = [from[1], py].map((v) => y.invert(clip(v, box.top, box.bottom))).sort((a, b) => a - b);
        change({ ranges: { ...state.ranges, [state.x]: xs, [state.y]: ys }, page: 0 });
        from.moved = true;
        return;
      }
      const i = nearest(px, py);
      if (i !== state.hovered) change({ hovered: i });
      if (i === null) hideHover(); else showHover(event.clientX, event.clientY, ...hoverOf(i));
    });
    svg.addEventListener('pointerup', (event) => {
      const moved = from?.moved;
      from = null;
      if (moved) return;
      const i = nearest(...at(event), event.pointerType === 'mouse' ? 26 : 40);
      if (i !== null) { if (event.shiftKey && pairs.place.has(trials.number[i])) change({ b: i }); else select(i); }
      else if (state.ranges[state.x] || state.ranges[state.y]) { const { [state.x]: _, [state.y]: __, ...ranges } = state.ranges; change({ ranges, page: 0 }); }
    });
    svg.addEventListener('pointerleave', () => { hideHover(); if (state.hovered !== null) change({ hovered: null }); });
    svg.addEventListener('keydown', (event) => {
      const shown = trials.number.map((_, i) => i).filter((i) => marks[i] && passing[i] === 2).sort((i, j) => valueOf(state.x, i) - valueOf(state.x, j) || valueOf(state.y, i) - valueOf(state.y, j));
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (step && shown.length) {
        const now = shown.indexOf(state.selected);
        select(shown[now < 0 ? 0 : (now + step + shown.length) % shown.length]);
        event.preventDefault();
      } else if (event.key === 'Escape') change({ ranges: {}, page: 0 });
      else if ('abAB'.includes(event.key) && state.selected !== null && pairs.place.has(trials.number[state.selected])) change({ [event.key.toLowerCase()]: state.selected });
    });
  }

  function legend() {
    const present = new Set(trials.group.filter((_, i) => marks[i]));
    const sample = (group) => s('svg', { width: 14, height: 14, viewBox: '0 0 14 14', style: 'display:inline-block;width:14px' }, markOf(group, 7, 7));
    const parts = Object.keys(GROUPS).filter((group) => present.has(group)).map((group) => h('span', { class: 'key' }, sample(group), GROUPS[group]));
    const cx = columns.get(state.x), cy = columns.get(state.y);
    if (cx.direction && cy.direction && cx !== cy) parts.push(h('span', { class: 'key' }, 'line: best in these two alone'));
    if (state.bars && model.intervals[state.y]) parts.push(h('span', { class: 'key' }, 'bars: 95 % intervals'));
    if (state.colour) parts.push(ramp(columns.get(state.colour)));
    if (missing) parts.push(h('span', { class: 'key' }, `${missing} without these numbers are not drawn`));
    byId('legend').replaceChildren(...parts);
  }

  function ramp(column) {
    const [low, high] = extentOf(column.name);
    const cells = CIVIDIS.map((_, k) => s('rect', { x: k * 12, width: 12.5, height: 10, fill: shade(k / (CIVIDIS.length - 1)) }));
    return h('span', { class: 'key' }, `${column.short}: ${fmt(column, low, true)} `, s('svg', { width: 84, height: 10, viewBox: '0 0 84 10', style: 'display:inline-block;width:84px' }, cells), ` ${fmt(column, high, true)}`);
  }

  const again = drawn(place, build);
  themed.push(() => paint());
  views.push((what) => {
    if (['x', 'y', 'frontOnly', 'feasibleOnly', 'bars'].some((key) => what.has(key))) again();
    else if (what.has('ranges') || what.has('colour')) paint();
    else if (['selected', 'hovered', 'a', 'b'].some((key) => what.has(key))) paintRings();
  });
}
