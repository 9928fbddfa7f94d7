"""`nas evaluate --audit`: the whole attack ladder and every check, on a checkpoint or anybody's network."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from nas.base.errors import UsageError
from nas.cli.options import PlainFormat, err, out, print_json, write


def audit_network(
    subject: str, *, weights: Path | None, config: Path | None, overrides: Sequence[str] | None, autoattack: bool,
    transfer_from: Sequence[Path] | None, images: int | None, split: str, data: Path | None, device: str,
    html: Path | None, format: PlainFormat,
) -> None:  # fmt: skip
    """Attacks the checkpoint or module:function `subject` with all there is, and prints the verdict."""
    from nas.base.machine import available_cores, claim_threads, resolve_device
    from nas.base.records import to_json
    from nas.data.datasets import at_root
    from nas.report.evaluations import audit_html, audit_view
    from nas.report.live import attack_lines
    from nas.runs.audit import audit as run_audit
    from nas.runs.audit import checkpoint_subject, function_subject
    from nas.runs.config import load_config

    with redirect_stdout(sys.stderr):  # their code may print, and our result alone belongs on stdout
        if ":" in subject and not Path(subject).exists():
            if config is None:
                raise UsageError(
                    f"{subject} needs --config CONFIG: the data, the threat model and the attacks to judge it by"
                )
            judged_by = load_config(config, overrides or ())
            judged_by = judged_by.model_copy(update={"data": at_root(judged_by.data, data)})
            chosen = function_subject(subject, weights, judged_by)
        elif weights or config or overrides:
            raise UsageError("--weights, --config and --set are for module:function; a checkpoint brings its own")
        else:
            chosen = checkpoint_subject(Path(subject), data)
    claim_threads(available_cores())
    with redirect_stdout(sys.stderr), err.status(f"auditing {chosen.name} on the {split} images …"):
        found = run_audit(
            chosen, split_name=split, device=resolve_device(device), images=images, autoattack=autoattack,
            transfer_from=transfer_from or (), report=attack_lines(err),
        )  # fmt: skip
    if html:
        write(html, audit_html(found, chosen.name).encode())
    if format is PlainFormat.JSON:
        return print_json({"network": chosen.name, "trusted": not found.failed_checks, "evaluation": to_json(found)})
    out.print(audit_view(found, chosen.name))
