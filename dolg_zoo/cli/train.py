"""`dolg train`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo._util.files import user_path
from dolg_zoo.cli.model import check_preset_name, import_tensorflow
from dolg_zoo.cli.options import OUTPUT, Json, Preset
from dolg_zoo.cli.reporting import finish, left_out, note, print_json
from dolg_zoo.cli.tables import print_table

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import PassedOver
    from dolg_zoo.training.config import TrainingConfig


def train(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="A TOML file that describes the run, or a recipe. (default: a recipe that fits the"
            " photographs)",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of images with one subfolder per class, or a CSV list with the columns"
            " image and label. In place of [data] in CONFIG.",
            show_default=False,
        ),
    ] = None,
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="For a list: allow images outside of its folder.")
    ] = False,
    preset: Preset = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With CONFIG: another backbone, such as efficientnet_b0, under a new head.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            *OUTPUT,
            metavar="DIR",
            help="The folder for the preset, the curves and the checkpoints.",
        ),
    ] = Path("my-dolg"),
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of epochs; more than before lengthen a finished run. (default: 3, and"
            " up to 8 of fewer than a hundred photographs)",
            show_default=False,
        ),
    ] = None,
    validate: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Share of the classes to validate on, not to train on; 0 for none. (default: 0.2,"
            " and more of few classes)",
            show_default=False,
        ),
    ] = None,
    validate_on: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder or a list like --data, to validate on; all of --data is trained on.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print the expected time and memory.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a preset on your own photographs.

    Classes that are not trained on show whether the preset becomes better at finding them. The
    best of the trained weights, the weights before training and averages of both is kept. An
    interrupted run continues when you call it again.

    \b
    Examples:
      dolg train --data photos/ -o my-places
      dolg train --data photos/ --dry-run
      dolg train --data photos/ -p my-start --validate-on others/ -o my-places
      dolg train config.toml -o my-places --dry-run
      dolg train oxford_flowers102_efficientnet -o flowers
      dolg train gldv2 --architecture efficientnet_b0 -o dolg_efficientnet_b0_gldv2

    \b
    Recipes: small_network, gldv2, gldv2_subcenter, malaria_densenet, mnist,
    oxford_flowers102_efficientnet, cmaterdb_resnet.
    """
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo._util.own_folders import PRESET, RUN, TRAINED
    from dolg_zoo.presets.files import preset_folder

    if not dry_run:
        check_output(out, RUN, [data])
    settings, relative_to = _config(config, data, anywhere, preset, architecture, epochs)
    settings = settings.with_split(validate, validate_on)
    passed_over = _check(settings, relative_to)
    if not dry_run and settings.model.preset is not None:
        check_output(out / TRAINED, PRESET, [preset_folder(settings.model.preset)])
    if sys.stderr.isatty():
        note("Loading TensorFlow …")
    import_tensorflow()
    from dolg_zoo.training.planning import plan
    from dolg_zoo.training.run import train as run

    if dry_run:
        planned = plan(settings, relative_to=relative_to)
        tables = settings.to_dict()
        if as_json:
            over = {"passed_over": passed_over.to_dict()}
            print_json({"config": tables, "plan": planned, **over})
        else:
            for name, table in tables.items():
                print(f"[{name}]")
                print_table((key, str(value)) for key, value in table.items())
            print_table((key, value) for key, value in planned.items() if key != "summary")
            print(planned["summary"])
        finish({}, False, passed_over)
        return
    result = run(settings, out, relative_to=relative_to, say=note)
    if as_json:
        print_json(
            {
                "preset": str(result.preset),
                "best_epoch": result.best_epoch,
                "history": result.history,
                "verdict": None if result.verdict is None else result.verdict.to_dict(),
                **left_out(result.skipped, passed_over),
            }
        )
    else:
        print(result.preset)
    finish(result.skipped, False, passed_over)


def _check(settings: TrainingConfig, relative_to: Path) -> PassedOver:
    """Raise PresetError or DataError before TensorFlow is imported; return the ignored files."""
    from dolg_zoo.preprocessing import PassedOver, list_images
    from dolg_zoo.training.data import load_split

    if settings.model.preset is not None:
        check_preset_name(settings.model.preset)
    if settings.data.keys() & {"folder", "csv"}:  # others take long to read twice
        load_split(settings, relative_to)
    folder = settings.data.get("folder")
    return (
        PassedOver() if folder is None else list_images(relative_to / user_path(folder)).passed_over
    )


def _config(
    path: Path | None,
    data: Path | None,
    anywhere: bool,
    preset: str | None,
    architecture: str | None,
    epochs: int | None,
) -> tuple[TrainingConfig, Path]:
    """Return the configuration, and the folder that its paths are relative to."""
    from dolg_zoo._util.text import did_you_mean
    from dolg_zoo.training.config import ModelPlan, TrainingConfig, data_table
    from dolg_zoo.training.recipes import recipe_names, recipe_path

    if path is None and data is None:
        raise typer.BadParameter("Give CONFIG, --data DIR, or both.")
    if path is None and architecture is not None:
        raise typer.BadParameter("--architecture goes with CONFIG; --data trains a --preset on.")
    if preset is not None and architecture is not None:
        raise typer.BadParameter("Give --preset or --architecture, not both.")
    relative_to = Path()
    if path is None:
        config = TrainingConfig.for_photos(str(data), preset)
    else:
        is_recipe = not path.is_file() and str(path) in recipe_names()
        if is_recipe and path.exists():
            note(f"{path} is also a folder here; the recipe of this name is taken.")
        if path.is_dir() and not is_recipe:
            raise typer.BadParameter(f"{str(path)!r} is a folder: dolg train --data {path} -o OUT")
        if not (is_recipe or path.exists()):
            names = recipe_names()
            raise FileNotFoundError(
                f"There is no file and no recipe {str(path)!r}.{did_you_mean(str(path), names)}"
                f" Recipes: {', '.join(names)}."
            )
        config = TrainingConfig.from_toml(recipe_path(str(path)) if is_recipe else path)
        if data is not None:
            config = dataclasses.replace(config, data=data_table(data))
        elif not is_recipe:
            relative_to = path.parent
        if preset is not None:
            config = dataclasses.replace(config, model=ModelPlan(preset=preset))
    if architecture is not None:
        config = config.with_architecture(architecture)
    if anywhere:
        config = dataclasses.replace(config, data={**config.data, "anywhere": True})
    if epochs is not None:
        config = dataclasses.replace(config, run=dataclasses.replace(config.run, epochs=epochs))
    return config, relative_to
