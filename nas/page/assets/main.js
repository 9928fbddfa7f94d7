// Starts every part; one that fails says so in its place and leaves the others.

startRetrained();
for (const [id, start] of [['searched', startSummary], ['toolbar', startControls], ['chips', startChips], ['compare-body', startCompare], ['scatter', startScatter], ['detail', startDetail], ['parallel', startParallel], ['table', startTable],
  ['budget-body', startBudget], ['progress-body', startProgress], ['choices-body', startChoices], ['baseline-body', startBaseline], ['method-body', startMethod]]) {
  try { start(); } catch (error) {
    console.error(error);
    byId(id).replaceChildren(h('p', { class: 'warn' }, `This part could not be drawn: ${error.message}`));
  }
}
addEventListener('scroll', hideHover, { passive: true });
document.documentElement.dataset.ready = 'true';
