"""`dolg evaluate`: one command a benchmark."""

from __future__ import annotations

import typer

from dolg_zoo.cli.evaluate import folder, gldv2, revisited
from dolg_zoo.cli.reporting import reporting_errors

app = typer.Typer(
    help="Measure a preset on public benchmarks or on your own photographs.",
    epilog="""\b
Examples:
  dolg evaluate folder photos/
  dolg evaluate roxford5k --images roxford5k/ --preset dolg_resnet50_gldv2
  dolg evaluate rparis6k --images rparis6k/ --distractors revisitop1m/ --markdown

Descriptors are kept: an evaluation that was interrupted goes on where it was.
""",
    rich_markup_mode=None,
    no_args_is_help=True,
)

for name, command in (
    ("roxford5k", revisited.revisited("roxford5k", "Revisited Oxford")),
    ("rparis6k", revisited.revisited("rparis6k", "Revisited Paris")),
    ("gldv2-retrieval", gldv2.gldv2_retrieval),
    ("gldv2-recognition", gldv2.gldv2_recognition),
    ("folder", folder.folder),
):
    app.command(name)(reporting_errors(command))
