// The page of curves: a line per network with its band over seeds, a panel per score.

const TONES = ['#0a6ebd', '#c4500a', '#00785a', '#8d5fb0', '#b58900', '#566270', '#17a2b8', '#7a4b2a'];
byId('title').textContent = model.title;
byId('note').textContent = model.note;
const labels = [...new Set(model.panels.flatMap((panel) => panel.lines.map((line) => line.label)))];
const toneOf = (label) => TONES[labels.indexOf(label) % TONES.length];
const off = new Set();
function drawPanels() {
  byId('panels').replaceChildren(...model.panels.map((panel) => {
    const place = h('div'), card = h('figure', { class: 'card chart' }, place);
    const lines = panel.lines.filter((line) => !off.has(line.label)).map((line) => ({ x: line.x, y: line.mean, low: line.min, high: line.max, label: line.label, colour: toneOf(line.label), dots: line.x.length < 3 }));
    queueMicrotask(() => lineChart(place, lines, { height: 300, label: { x: 'epoch', y: panel.title }, text: { x: (v) => significant(v), y: (v) => significant(v) } }));
    return card;
  }));
}
byId('legend').replaceChildren(...labels.map((label) => h('label', { class: 'chip' }, h('input', { type: 'checkbox', style: 'width:auto', checked: true, change: (e) => { if (e.target.checked) off.delete(label); else off.add(label); drawPanels(); } }), h('span', { class: 'swatch', style: `background:${toneOf(label)}` }), label)));
drawPanels();
document.documentElement.dataset.ready = 'true';
