"""The verb that begins: init."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from nas.base.errors import UsageError
from nas.cli.options import app, err, out, warn


@app.command(epilog="Example: nas init mine --data ~/photos --device cortex-m7 --image-size 48")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that config.yaml is written to.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="ROOT", help="Your images: ROOT/train/<class>/ and ROOT/test/<class>/.")
    ],
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Whose memory is the budget: cortex-m4, cortex-m7, esp32-s3, …")
    ] = "",
    budget: Annotated[str, typer.Option(metavar="LIMITS", help="Instead, such as params=100k,macs=8M.")] = "",
    image_size: Annotated[int, typer.Option(min=8, max=512, help="Side that images are resized to.")] = 32,
) -> None:
    """Write a config for your own images, with a space that fits your device."""
    from nas.runs.devices import DEVICES
    from nas.runs.first_config import first_config, limits_of

    path = folder / "config.yaml"
    if path.exists():
        raise UsageError(f"{path} exists already and is not overwritten; remove it, or name another folder")
    limits = limits_of(device, budget)
    board = None if budget else DEVICES[device or "cortex-m4"]
    origin = (
        f"Half the flash and RAM of {board.board}, ten images a second; a starting point." if board
        else "As given to `nas init`."
    )  # fmt: skip
    with err.status("looking at the images …"):
        found = first_config(folder.resolve().name, data.expanduser().resolve(), image_size, limits, origin)
    try:
        content = found.text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"--data {str(data)!a}: the path is not in UTF-8, as a config is; rename it") from error
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
    for text in found.warnings:
        warn(text)
    if found.fitted.share > 0.95:
        warn("the budget allows more than this space has: make its channels larger, or the budget smaller")
    size, share = f"{found.fitted.space.size:,}", f"{100 * found.fitted.share:.0f} %"
    limit_text = ", ".join(f"{name} {value}" for name, value in limits.items())
    out.print(f"wrote {path}: {size} networks, {share} of random ones within {limit_text}", soft_wrap=True,
              highlight=False, markup=False)  # fmt: skip
    quoted, run = shlex.quote(str(path)), f"runs/{found.name}"
    out.print("\nNext:", highlight=False)
    for command, meaning in (
        (f"nas check {quoted}", "what it covers, how long it takes"),
        (f"nas search {quoted}", "resumes after Ctrl-C"),
        (f"nas report {run}", "the networks to choose from, in a page; `nas front` in a table"),
        (f"nas retrain {run} --pick expected", "or knee, or a number: long training, then the test images"),
        (f"nas export --front {run} --format tflite", "what was retrained, as int8 files (extra packages: README)"),
    ):
        out.print(f"  {command}\n      {meaning}", soft_wrap=True, highlight=False, markup=False)
