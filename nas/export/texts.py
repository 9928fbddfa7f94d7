"""Exported files and their scores as text for a terminal."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nas.attacks.threat import threat_text
from nas.export.exporting import Exported
from nas.export.judge import BORROWED, FileScores
from nas.report.evaluations import attack_text
from nas.report.whole_table import WholeTable


def exported_view(found: Exported, needed: float) -> RenderableType:
    """One file: size, parity, memory, operators, each beside what it is compared with."""
    table = Table.grid(padding=(0, 2, 0, 2))
    kind = "at the bits trained" if found.stored_weights else "int8" if found.is_int8 else "float32"
    table.add_row("size", f"{found.file_bytes:,} bytes; weights as counted: {found.weight_bytes:,} ({kind})")
    if found.stored_weights:
        table.add_row("weights", f"{found.stored_weight_bytes:,} bytes in the file: {found.stored_weights}")
    images = f"{found.num_images} {found.split} images"
    style = "" if found.agreement >= needed else "red"
    parity = f"{found.agreement:.2%} as the checkpoint's on {images} (needed: {needed:.0%})"
    table.add_row("predictions", Text(parity, style))
    if found.differing_margin is not None:
        close = f"the checkpoint's two best logits are at most {found.differing_margin:.2g} apart"
        table.add_row("", f"where they differ, {close} (median of all images: {found.margin:.2g})")
    accuracies = f"checkpoint {found.checkpoint_accuracy:.4f}, file {found.accuracy:.4f}"
    table.add_row("accuracy", f"{accuracies}; logits differ by up to {found.logit_difference:.2g}")
    if found.arena_bytes is not None:
        memory = f"{found.arena_bytes:,} bytes of tensors; as counted: {found.peak_activation_bytes:,}"
        table.add_row("memory", memory)
    if found.operators:
        table.add_row("operators", ", ".join(f"{name} {count}" for name, count in Counter(found.operators).items()))
    return Group(Text(str(found.file), "bold", overflow="fold"), table)


def scores_view(scores: FileScores, name: str, facts: Mapping[str, str], ladder: float | None) -> RenderableType:
    """Scores of a file beside its parent's; `ladder` is the parent's robust accuracy under its own whole ladder."""
    kind, of = facts.get("precision", "file"), "quantized" if "quantization" in facts else "float"
    table = WholeTable(Text(f"{name}: {kind} against its {of} parent"))
    for heading in ("attack", "attacked", "broken", kind, of):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    table.add_row("clean images", "", "", f"{scores.natural_accuracy:.4f}", f"{scores.parent_natural_accuracy:.4f}")
    for rung in scores.ladder:
        table.add_row(
            _attack(rung.attack), str(rung.num_images), str(rung.broken), f"{rung.robust_accuracy:.4f}",
            f"{rung.parent_robust_accuracy:.4f}",
        )  # fmt: skip
    interval = scores.robust_interval
    notes = [
        Text(
            f"robust accuracy {scores.robust_accuracy:.4f} (95 % interval {interval.low:.4f} – {interval.high:.4f}), "
            f"{scores.robust_accuracy - scores.parent_robust_accuracy:+.4f} against the {of} network under the same "
            f"attacks; natural {scores.natural_accuracy - scores.parent_natural_accuracy:+.4f}"
        ),
        Text(f"{scores.num_images} {scores.split} images, {threat_text(scores.threat)}", "dim"),
    ]
    if ladder is not None:
        notes.append(Text(f"the {of} network's whole ladder, with its gradients: {ladder:.4f}", "dim"))
    return Group(table, *notes, *(Text(f"warning: {text}", "yellow") for text in scores.warnings))


def _attack(attack: Mapping[str, Any]) -> str:
    """An attack in a few words; of a transfer, the one that was made on the parent."""
    if "attack" not in attack:
        return attack_text(attack, brief=True)
    how = "with gradients of the parent" if attack["name"] == BORROWED else "made on the parent"
    return f"{attack_text(attack['attack'], brief=True)}, {how}"
