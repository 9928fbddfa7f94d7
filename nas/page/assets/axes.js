// Scales, axes and line charts.

// A map from values to pixels, with its inverse and its ticks. Logarithmic where asked for and possible.
function scale(low, high, from, to, log = false) {
  const isLog = log && low > 0 && high / low > 3;
  const value = isLog ? Math.log10 : (v) => v;
  const [a, b] = [value(low), value(high)];
  const width = b - a || 1;
  const at = (v) => from + ((value(v) - a) / width) * (to - from);
  at.invert = (pixel) => {
    const found = a + ((pixel - from) / (to - from)) * width;
    return isLog ? 10 ** found : found;
  };
  at.ticks = (wanted) => (isLog ? logTicks(low, high, wanted) : ticks(low, high, wanted));
  at.domain = [low, high];
  return at;
}

function ticks(low, high, wanted = 5) {
  const raw = (high - low || 1) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) found.push(Number((n * step).toPrecision(12)));
  return found;
}

function logTicks(low, high, wanted = 5) {
  for (const factors of [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const factor of factors) {
        const value = factor * 10 ** power;
        if (value >= low && value <= high) found.push(Number(value.toPrecision(3)));
      }
    }
    if ((found.length <= wanted + 1 && found.length > 1) || factors.length === 1) return found.length > 1 ? found : [low, high];
  }
  return [low, high];
}

// Least and largest value, with some room.
function extent(values, room = 0.05, log = false) {
  const known = values.filter((v) => v !== null && v !== undefined && Number.isFinite(v));
  if (!known.length) return [0, 1];
  let low = Math.min(...known), high = Math.max(...known);
  if (low === high) { const some = Math.abs(low) * 0.1 || 0.5; return [low - some, high + some]; }
  if (log && low > 0) { const factor = (high / low) ** room; return [low / factor, high * factor]; }
  const space = (high - low) * room;
  return [low - space, high + space];
}

// Grid, ticks and titles of two scales. `label` are the texts of the axes, `text` formats their ticks.
function axesOf(x, y, box, label, text) {
  const group = s('g');
  const wide = box.right - box.left;
  for (const tick of x.ticks(Math.max(2, Math.floor(wide / 90)))) {
    group.append(s('line', { class: 'grid', x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom }),
      s('text', { x: x(tick), y: box.bottom + 16, 'text-anchor': 'middle' }, text.x(tick)));
  }
  for (const tick of y.ticks(Math.max(4, Math.floor((box.bottom - box.top) / 55)))) {
    group.append(s('line', { class: 'grid', x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }),
      s('text', { x: box.left - 7, y: y(tick) + 4, 'text-anchor': 'end' }, text.y(tick)));
  }
  group.append(s('line', { class: 'axis', x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    s('text', { class: 'label', x: (box.left + box.right) / 2, y: box.bottom + 36, 'text-anchor': 'middle' }, label.x),
    s('text', { class: 'label', x: box.left - 2, y: box.top - 12, 'text-anchor': 'start' }, label.y));
  return group;
}

// Lines over a common x. `lines`: {x, y, low?, high?, colour, label, stepped?}; hovering names the nearest point.
function lineChart(place, lines, { height = 260, label, text, marks = [], log = false }) {
  const draw = (width) => {
    const box = { left: 58, right: width - 14, top: 28, bottom: height - 44 };
    const all = (key) => lines.flatMap((line) => line[key] ?? []);
    const x = scale(...extent(all('x'), log ? 0.03 : 0.02, log), box.left, box.right, log);
    const y = scale(...extent([...all('y'), ...all('low'), ...all('high')], 0.06), box.bottom, box.top);
    const svg = s('svg', { height, viewBox: `0 0 ${width} ${height}`, class: 'lines', role: 'img', 'aria-label': `${label.y} by ${label.x}` });
    svg.append(axesOf(x, y, box, label, text));
    for (const mark of marks) {
      if (mark.x < x.domain[0] || mark.x > x.domain[1]) continue;
      svg.append(s('line', { x1: x(mark.x), x2: x(mark.x), y1: box.top, y2: box.bottom, stroke: `var(--${mark.colour})`, 'stroke-width': 1.5, 'stroke-dasharray': '4 3' }),
        s('text', { x: x(mark.x) + 4, y: box.top + (mark.below ? 26 : 10), class: 'letter', style: `fill: var(--${mark.colour})` }, mark.text));
    }
    for (const line of lines) {
      if (line.low) svg.append(s('path', { class: 'band', d: bandPath(line, x, y, line.stepped), style: `fill:${line.colour}` }));
    }
    for (const line of lines) {
      svg.append(s('path', { d: linePath(line.x, line.y, x, y, line.stepped), stroke: line.colour, 'stroke-dasharray': line.dashed ? '5 4' : undefined }));
      if (line.dots) line.x.forEach((v, i) => { if (line.y[i] !== null) svg.append(s('circle', { cx: x(v), cy: y(line.y[i]), r: 3, fill: line.colour })); });
    }
    const dot = s('circle', { r: 4.5, fill: 'var(--pick)', visibility: 'hidden' });
    svg.append(dot);
    svg.addEventListener('pointermove', (event) => {
      const [px, py] = pointIn(svg, event, width, height);
      let best = null;
      for (const line of lines) {
        line.x.forEach((v, i) => {
          if (line.y[i] === null) return;
          const away = (x(v) - px) ** 2 + ((y(line.y[i]) - py) / 3) ** 2;
          if (!best || away < best.away) best = { away, line, i };
        });
      }
      if (!best || best.away > 2500) { hideHover(); dot.setAttribute('visibility', 'hidden'); return; }
      const { line, i } = best;
      dot.setAttribute('visibility', 'visible');
      dot.setAttribute('cx', x(line.x[i]));
      dot.setAttribute('cy', y(line.y[i]));
      const more = line.notes ? [h('div', {}, line.notes[i])] : [];
      showHover(event.clientX, event.clientY, h('b', {}, line.label), h('div', {}, `${label.x} ${text.x(line.x[i])}`), h('div', {}, `${label.y} ${text.y(line.y[i])}`), ...more);
    });
    svg.addEventListener('pointerleave', () => { hideHover(); dot.setAttribute('visibility', 'hidden'); });
    place.replaceChildren(svg);
  };
  return drawn(place, draw);
}

function pointIn(svg, event, width, height) {
  const frame = svg.getBoundingClientRect();
  return [((event.clientX - frame.left) * width) / frame.width, ((event.clientY - frame.top) * height) / frame.height];
}

function linePath(xs, ys, x, y, stepped) {
  let path = '', before = null;
  xs.forEach((v, i) => {
    if (ys[i] === null || ys[i] === undefined) { before = null; return; }
    if (before === null) path += `M${x(v).toFixed(1)} ${y(ys[i]).toFixed(1)}`;
    else path += stepped ? `H${x(v).toFixed(1)}V${y(ys[i]).toFixed(1)}` : `L${x(v).toFixed(1)} ${y(ys[i]).toFixed(1)}`;
    before = v;
  });
  return path;
}

function bandPath(line, x, y, stepped) {
  const upper = linePath(line.x, line.high, x, y, stepped);
  const points = line.x.map((v, i) => [x(v), y(line.low[i])]).reverse();
  let lower = '';
  points.forEach(([px, py], i) => {
    if (i === 0) lower += `L${px} ${py}`;
    else lower += stepped ? `V${py}H${px}` : `L${px} ${py}`;
  });
  return `${upper}${lower}Z`;
}
