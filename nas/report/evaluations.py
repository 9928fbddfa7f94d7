"""One evaluation in words: scores, the attack ladder, the checks, and the verdict on them."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nas.attacks.threat import threat_text
from nas.base.records import Evaluation, Interval, TrialRecord
from nas.base.settings import ratio_text
from nas.measures import MEASURES
from nas.report.names import column_name
from nas.report.tables import bytes_text
from nas.report.whole_table import WholeTable

if TYPE_CHECKING:
    from nas.evaluation.certified import CertifiedBound

WEIGHTS = {
    "scratch": "",
    "supernet": "scored with the weights of the supernet: measure the front again, with `nas sweep "
    "CONFIG --set sweep.front_of=RUN` and search.evaluator scratch or fine_tuned, or `nas retrain --from inherited`; "
    "their instability hardly ranks networks (docs/one-shot.md)",
    "fine_tuned": "trained on from the weights of a supernet",
}
"""What the weights are that a front was scored with."""


def attack_text(attack: Mapping[str, Any], brief: bool = False) -> str:
    """An attack with its settings, as its description has them; `brief` leaves out conventions and constants."""
    settings = {key: ratio_text(value) if isinstance(value, float) else value for key, value in attack.items()}
    shown = ", ".join(
        f"{key} {value}"
        for key, value in settings.items()
        if key != "name" and value is not None and (key in _SHORT or not brief)
    )
    return f"{attack['name']} ({shown})" if shown else str(attack["name"])


def protocol_text(evaluation: Evaluation) -> str:
    """What the accuracies of an evaluation mean: images, threat, attacks."""
    threat = threat_text(evaluation.threat)
    attacks = [rung.attack for rung in evaluation.ladder] or [evaluation.attack]
    worst = "worst case of " if len(attacks) > 1 else ""
    named = " + ".join(attack_text(attack, brief=len(attacks) > 1) for attack in attacks)
    text = f"{evaluation.num_images} {evaluation.split} images, {threat}, {worst}{named}; 95 % intervals"
    shown = next((one for one in evaluation.by_threat.values() if one.threat.get("acts_on") == "manifold"), None)
    if shown is None:
        return text
    made = " + ".join(attack_text(rung.attack, brief=True) for rung in shown.ladder)
    return f"{text}; also {threat_text(shown.threat)}: {made}"


def evaluation_view(evaluation: Evaluation) -> RenderableType:
    """Every score of an evaluation with its unit, what it was measured on, and its warnings."""
    table = Table.grid(padding=(0, 3, 0, 0))
    for name in ("natural", "robust"):
        value: float = getattr(evaluation, f"{name}_accuracy")
        interval: Interval = getattr(evaluation, f"{name}_interval")
        table.add_row(f"{name} accuracy", f"{value:.4f}", f"95 % interval {interval.low:.4f} – {interval.high:.4f}")
        if (balanced := getattr(evaluation, f"balanced_{name}_accuracy")) is not None:
            largest = f"the largest class alone has {evaluation.chance:.4f} of the images"
            table.add_row("  balanced", f"{balanced:.4f}", f"mean over the classes; {largest}")
    for name, entry in MEASURES.items():
        if not entry.interval and (score := evaluation.score(name)) is not None:
            shown = bytes_text(score) if entry.unit == "bytes" else f"{score:.4g}"
            table.add_row(column_name(name), shown, entry.note or entry.unit)
    parts: list[RenderableType] = [table]
    if len(evaluation.ladder) > 1:
        parts.append(ladder_table(evaluation))
    if evaluation.by_threat:
        parts.append(threats_table(evaluation))
    notes = [Text(protocol_text(evaluation), style="dim"), Text(trust_text(evaluation), style="dim")]
    notes += [Text(f"warning: {text}", style="yellow") for text in evaluation.all_warnings]
    return Group(*parts, *notes)


def protocols_of(records: Sequence[TrialRecord]) -> list[str]:
    """Every protocol behind the trials; where there are several, with their numbers and a word of caution."""
    trials: dict[str, list[int]] = {}
    for record in records:
        if record.evaluation is not None:
            trials.setdefault(protocol_text(record.evaluation), []).append(record.number)
    if len(trials) < 2:
        return list(trials)
    caution = "not all were attacked alike; whoever was attacked less looks more robust:"
    return [caution, *(f"trial {', '.join(map(str, numbers))}: {text}" for text, numbers in trials.items())]


def ladder_table(evaluation: Evaluation) -> WholeTable:
    """Every attack in order: how many images it was made on, how many it broke, what stands."""
    table = WholeTable()
    for heading in ("attack", "attacked", "broken", "robust accuracy", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    natural, interval = evaluation.natural_accuracy, evaluation.natural_interval
    table.add_row("clean images", "", "", f"{natural:.4f}", f"{interval.low:.4f} – {interval.high:.4f}")
    for rung in evaluation.ladder:
        between = f"{rung.robust_interval.low:.4f} – {rung.robust_interval.high:.4f}"
        name = attack_text(rung.attack, brief=True)
        table.add_row(name, str(rung.num_images), str(rung.broken), f"{rung.robust_accuracy:.4f}", between)
    return table


def threats_table(evaluation: Evaluation) -> WholeTable:
    """Robust accuracy under each further threat, with its attacks; none of them is the evaluation's."""
    table = WholeTable()
    for heading in ("further threat", "images", "robust accuracy", "95 % interval", "worst case of"):
        table.add_column(heading, justify="right" if heading in ("images", "robust accuracy") else "left")
    for row in _threat_rows(evaluation):
        table.add_row(*row)
    return table


def _threat_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    return [
        (
            f"{name}: {threat_text(score.threat)}", str(score.num_images), f"{score.robust_accuracy:.4f}",
            f"{score.robust_interval.low:.4f} – {score.robust_interval.high:.4f}",
            " + ".join(attack_text(rung.attack, brief=True) for rung in score.ladder),
        )
        for name, score in evaluation.by_threat.items()
    ]  # fmt: skip


_SHORT = ("threat", "loss", "steps", "step_size", "restarts", "targets", "queries", "draws", "source")


def checks_table(evaluation: Evaluation) -> WholeTable:
    """Every check with what it found."""
    table = WholeTable()
    for heading in ("check", "verdict", "what was found"):
        table.add_column(heading)
    for check in evaluation.checks:
        mark = "[green]passed[/green]" if check.passed else "[bold red]failed[/bold red]"
        table.add_row(check.name, mark, Text(check.words))
    return table


def trust_text(evaluation: Evaluation) -> str:
    """How many checks were made, and which failed."""
    if not evaluation.checks:
        return "not checked: scored by a version without sanity checks of the attacks"
    failed = ", ".join(check.name for check in evaluation.failed_checks)
    made = f"{len(evaluation.checks)} sanity checks of the attacks"
    if failed:
        return f"{len(evaluation.failed_checks)} of {made} failed: {failed}"
    return f"all {made} passed (this says nothing about accuracy)"


def verdict_text(evaluation: Evaluation) -> str:
    """The one sentence of an audit."""
    interval = evaluation.robust_interval
    stated = (
        f"robust accuracy at most {evaluation.robust_accuracy:.3f} (95 % interval {interval.low:.3f} – "
        f"{interval.high:.3f}) on {evaluation.num_images} {evaluation.split} images, "
        f"{threat_text(evaluation.threat)}, after {sum(rung.num_images > 0 for rung in evaluation.ladder)} attacks"
    )
    if not evaluation.checks:
        return f"NOT CHECKED: {stated}"
    failed = [check.name for check in evaluation.failed_checks]
    if failed:
        return f"NOT TO BE TRUSTED: {stated}; failed: {', '.join(failed)}"
    noted = f"; {len(evaluation.warnings)} other warnings" if evaluation.warnings else ""
    return (
        f"NO REASON FOR DOUBT FOUND: {stated}; all {len(evaluation.checks)} sanity checks of the attacks passed{noted}"
    )


def audit_view(evaluation: Evaluation, subject: str) -> RenderableType:
    """One page on one network: verdict, ladder, checks, warnings."""
    style = "bold red" if evaluation.failed_checks else "bold green"
    notes = [Text(f"warning: {text}", style="yellow") for text in evaluation.all_warnings]
    further = [threats_table(evaluation)] if evaluation.by_threat else []
    return Group(
        Text(f"audit of {subject}", style="bold"), Text(verdict_text(evaluation), style=style),
        ladder_table(evaluation), checks_table(evaluation), *further, *notes,
        Text(protocol_text(evaluation), style="dim"),
    )  # fmt: skip


def audit_html(evaluation: Evaluation, subject: str) -> str:
    """The same page as HTML, readable anywhere."""
    rungs = _rows((
        attack_text(r.attack), r.num_images, r.broken, f"{r.robust_accuracy:.4f}",
        f"{r.robust_interval.low:.4f} – {r.robust_interval.high:.4f}",
    ) for r in evaluation.ladder)  # fmt: skip
    checks = _rows(
        (c.name, "passed" if c.passed else "FAILED", c.words, _figures(c.figures)) for c in evaluation.checks
    )
    colour = "#b3261e" if evaluation.failed_checks else "#1b7a3d"
    warned = "".join(f"<li>{escape(text)}</li>" for text in evaluation.all_warnings)
    further = (
        "<h2>Further threats</h2><table><tr><th>threat</th><th>images</th><th>robust accuracy</th>"
        f"<th>95 % interval</th><th>worst case of</th></tr>{_rows(_threat_rows(evaluation))}</table>"
    )
    natural = (
        f"natural accuracy {evaluation.natural_accuracy:.4f} ({evaluation.natural_interval.low:.4f} – "
        f"{evaluation.natural_interval.high:.4f}){_balanced(evaluation)}, instability "
        f"{evaluation.instability:.4g} nats, empirical Lipschitz constant {evaluation.lipschitz_empirical:.4g} "
        f"(l2 / l2)"
    )
    title = escape(f"Audit of {subject}")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title><style>"
        "body{font-family:system-ui,sans-serif;margin:2rem auto;max-width:1000px;color:#222;line-height:1.4}"
        "table{border-collapse:collapse;font-size:.85rem;width:100%}td,th{padding:.3rem .6rem;text-align:left;"
        "border-bottom:1px solid #ddd;vertical-align:top}</style></head><body>"
        f"<h1>{title}</h1><p style='color:{colour};font-weight:600'>{escape(verdict_text(evaluation))}</p>"
        f"<p>{natural}</p>"
        f"<h2>Attacks</h2><table><tr><th>attack</th><th>attacked</th><th>broken</th><th>robust accuracy</th>"
        f"<th>95 % interval</th></tr>{rungs}</table>"
        f"<h2>Checks</h2><table><tr><th>check</th><th>verdict</th><th>found</th><th>figures</th></tr>{checks}</table>"
        f"{further if evaluation.by_threat else ''}"
        f"{f'<h2>Warnings</h2><ul>{warned}</ul>' if warned else ''}</body></html>"
    )


def _balanced(evaluation: Evaluation) -> str:
    """Accuracies as means over uneven classes; nothing where the classes are even."""
    natural, robust = evaluation.balanced_natural_accuracy, evaluation.balanced_robust_accuracy
    return "" if natural is None else f", mean over the classes {natural:.4f} (robust: {robust:.4f})"


def _rows(rows: Iterable[Sequence[object]]) -> str:
    return "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)


def _figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def certified_table(bound: "CertifiedBound") -> RenderableType:
    """Factors of the certified Lipschitz constant in the order of the network; the largest is marked."""
    table = WholeTable("certified Lipschitz constant")
    for heading in ("part", "factor", "norms of its layers"):
        table.add_column(heading, justify="right" if heading == "factor" else "left")
    for factor in bound.factors:
        layers = ", ".join(f"{kind} {norm:.3g}" for kind, norm in factor.norms)
        if factor.norms[0][0] == "projection":
            layers = layers.replace(", ", " + ", 1)
        mark = " ◀ largest" if factor is bound.dominant else ""
        table.add_row(factor.name, f"{factor.value:.3g}", f"{'1 + ' if factor.residual else ''}{layers}{mark}")
    return Group(table, Text(f"product: 10^{bound.log10:.2f}, proved for l2 / l2; residual blocks: 1 + product", "dim"))
