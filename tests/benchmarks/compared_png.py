"""Pictures of what compared trainings found, a row of panels for each file.

`python -m tests.benchmarks.compared_png quantized|compressed OUT.png TITLE=FILE [TITLE=FILE …]`: the files that
quantized_robustness and compressed write. A point is a mean over seeds, its bar the 95 % interval by Student's t.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.report.plots import figure_of, png_of
from nas.report.study_plots import COLOURS
from tests.benchmarks.few_steps import read
from tests.benchmarks.retrained import groups, half_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
ACCURACIES = {
    "natural": "natural accuracy", "linf": "robust accuracy, pixels", "manifold": "robust accuracy, on the manifold",
    "corrupted": "accuracy under corruptions",
}  # fmt: skip


def point(rows: Sequence[Row], key: str) -> tuple[float, float]:
    """Mean of `key`, and half of its interval (0 where there is one seed)."""
    values = [row[key] for row in rows]
    return sum(values) / len(values), half_width(values) if len(values) > 1 else 0.0


def quantized(panels: "Sequence[Axes]", rows: Sequence[Row]) -> None:
    """Natural and robust accuracy of every network in its bits, with its bytes: a colour for each recipe."""
    recipes = sorted({row["recipe"] for row in rows})
    kinds = sorted({(row["network"] != "own", row["network"], -row["bytes"], row["bits"]) for row in rows})
    for axes, key in zip(panels, ("natural", "robust"), strict=True):
        for at, (_, network, size, bits) in enumerate(kinds):
            own = [row for row in rows if (row["network"], row["bytes"], row["bits"]) == (network, -size, bits)]
            for (recipe,), seeds in groups(own, ("recipe",)).items():
                index = recipes.index(recipe)
                mean, half = point(seeds, key)
                axes.errorbar(at + 0.12 * (index - 1.5), mean, half, color=COLOURS[index], marker="o", markersize=4,
                              elinewidth=0.9)  # fmt: skip
        for index, recipe in enumerate(recipes):
            axes.plot([], [], "o", color=COLOURS[index], label=recipe.replace("+", " + "))
        labels = [f"{'' if name == 'own' else name + chr(10)}{bits}\n{-size:,} B" for _, name, size, bits in kinds]
        axes.set_xticks(range(len(kinds)), labels, fontsize=7)
        axes.set(ylim=(0, 1.02), ylabel=f"{key} accuracy")


def compressed(panels: "Sequence[Axes]", rows: Sequence[Row]) -> None:
    """Four accuracies by sparsity: lines of pruned networks, dashed of the dense ones of as many bytes."""
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    for axes, (key, heading) in zip(panels, ACCURACIES.items(), strict=True):
        for index, recipe in enumerate(recipes):
            for dense, style in ((False, "-"), (True, "--")):
                own = [row for row in rows if row["recipe"] == recipe]
                at = groups([row for row in own if row["dense"] == dense or row["sparsity"] == 0], ("sparsity",))
                where = sorted(at)
                points = [point(at[sparsity], key) for sparsity in where]
                axes.errorbar(
                    range(len(where)), [mean for mean, _ in points], [half for _, half in points],
                    color=COLOURS[index], linestyle=style, linewidth=1.4, elinewidth=0.7, marker="." if dense else "o",
                    markersize=4, alpha=0.6 if dense else 1, label=f"{recipe}, {'dense' if dense else 'pruned'}",
                )  # fmt: skip
        sparsities = sorted({row["sparsity"] for row in rows})
        axes.set_xticks(range(len(sparsities)), [f"{sparsity} %" for sparsity in sparsities])
        axes.set(xlabel="zeros among the weights", ylabel=heading)


KINDS: dict[str, tuple[Callable[["Sequence[Axes]", Sequence[Row]], None], int]] = {
    "quantized": (quantized, 2), "compressed": (compressed, 4),
}  # fmt: skip


def picture(kind: str, files: Mapping[str, Path]) -> bytes:
    """PNG with a row of panels for each file, under its title."""
    draw, columns = KINDS[kind]
    figure = figure_of(13 if columns == 4 else 11.5, 3.9 * len(files))
    grid = figure.subplots(len(files), columns, squeeze=False)
    for panels, (title, file) in zip(grid, files.items(), strict=True):
        rows = read(file)
        draw(panels, rows)
        for axes in panels:
            axes.grid(alpha=0.25)
        seeds = len({row["seed"] for row in rows})
        panels[0].set_title(
            f"{title}: {rows[0]['images']} test images, up to {seeds} seeds a point", fontsize=10, loc="left"
        )
    grid[0][0].legend(loc="lower left", fontsize=7, framealpha=0.9)
    figure.tight_layout()
    return png_of(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", nargs="+", metavar="TITLE=FILE")
    arguments = parser.parse_args()
    named = (text.partition("=") for text in arguments.files)
    arguments.out.write_bytes(picture(arguments.kind, {title: Path(file) for title, _, file in named}))


if __name__ == "__main__":
    main()
