"""`dolg train`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo._util.files import user_path
from dolg_zoo.cli.model import import_tensorflow, resolve
from dolg_zoo.cli.options import OUTPUT, Json, Preset
from dolg_zoo.cli.reporting import finish, left_out, note, print_json
from dolg_zoo.cli.tables import print_table

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import PassedOver
    from dolg_zoo.training.config import TrainingConfig


@dataclass(frozen=True)
class Options:
    """Settings, output and messages of a run."""

    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of images with one subfolder per class, or a CSV list with the columns"
            " image and label. Replaces [data] of CONFIG.",
            show_default=False,
        ),
    ] = None
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="For a list: allow images outside of its folder.")
    ] = False
    preset: Preset = None
    architecture: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With CONFIG: another backbone, such as efficientnet_b0, with a new head.",
            show_default=False,
        ),
    ] = None
    out: Annotated[
        Path,
        typer.Option(
            *OUTPUT,
            metavar="DIR",
            help="The folder for the preset, the curves and the checkpoints.",
        ),
    ] = Path("my-dolg")
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of epochs; a larger number lengthens a finished run. (default: 3, or up to"
            " 8 for fewer than a hundred photographs)",
            show_default=False,
        ),
    ] = None
    validate: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Share of the classes to validate on instead of training; 0 for none. (default:"
            " 0.2, or more if the classes are few)",
            show_default=False,
        ),
    ] = None
    validate_on: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder or a list like --data, to validate on; --data is for training only.",
            show_default=False,
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print the expected time and memory.")
    ] = False
    as_json: Json = False


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
    *,
    options: Options,
) -> None:
    """Fine-tune a preset on your own photographs.

    Some classes are held out, to measure whether training helps to find them. The new preset has
    the best of three weights: the trained weights, the weights before training, and averages of
    both. An interrupted run continues when you start it again.

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
    settings, relative_to = _config(config, options)
    passed_over = _check(settings, relative_to, options)
    if sys.stderr.isatty():
        note("Loading TensorFlow …")
    import_tensorflow()
    if options.dry_run:
        _print_plan(settings, relative_to, passed_over, options.as_json)
        finish({}, False, passed_over)
        return
    from dolg_zoo.training.run import train as run

    result = run(settings, options.out, relative_to=relative_to, say=note)
    if options.as_json:
        print_json({**result.to_dict(), **left_out(result.skipped, passed_over)})
    else:
        print(result.preset)
    finish(result.skipped, False, passed_over)


def _print_plan(
    settings: TrainingConfig, relative_to: Path, passed_over: PassedOver, as_json: bool
) -> None:
    from dolg_zoo.training.planning import plan

    planned = plan(settings, relative_to=relative_to)
    tables = settings.to_dict()
    if as_json:
        print_json({"config": tables, "plan": planned, "passed_over": passed_over.to_dict()})
        return
    for name, table in tables.items():
        print(f"[{name}]")
        print_table((key, str(value)) for key, value in table.items())
    print_table((key, value) for key, value in planned.items() if key != "summary")
    print(planned["summary"])


def _check(settings: TrainingConfig, relative_to: Path, options: Options) -> PassedOver:
    """Raise PresetError or DataError before TensorFlow is imported; return the ignored files."""
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo._util.own_folders import PRESET, RUN, TRAINED
    from dolg_zoo.preprocessing import PassedOver, list_images
    from dolg_zoo.presets.files import preset_folder
    from dolg_zoo.training.data import load_split

    preset, folder = settings.model.preset, settings.data.get("folder")
    if not options.dry_run:
        check_output(options.out, RUN, [options.data])
    if preset is not None:
        resolve(preset)
    if settings.data.keys() & {"folder", "csv"}:  # reading other sources twice takes long
        load_split(settings, relative_to)
    images = None if folder is None else list_images(relative_to / user_path(folder))
    if not options.dry_run and preset is not None:
        check_output(options.out / TRAINED, PRESET, [preset_folder(preset)])
    return images.passed_over if images else PassedOver()


def _config(path: Path | None, options: Options) -> tuple[TrainingConfig, Path]:
    """Return the configuration, and the folder that its paths are relative to."""
    from dolg_zoo.training.config import ModelPlan, TrainingConfig, data_table

    data, preset, architecture = options.data, options.preset, options.architecture
    if path is None and data is None:
        raise typer.BadParameter("Give CONFIG, --data DIR, or both.")
    if path is None and architecture is not None:
        raise typer.BadParameter("--architecture needs CONFIG; --data alone fine-tunes a --preset.")
    if preset is not None and architecture is not None:
        raise typer.BadParameter("Give --preset or --architecture, not both.")
    relative_to = Path()
    if path is None:
        config = TrainingConfig.for_photos(str(data), preset)
    else:
        file, is_recipe = _config_file(path)
        config = TrainingConfig.from_toml(file)
        if data is not None:
            config = replace(config, data=data_table(data))
        elif not is_recipe:
            relative_to = path.parent
        if preset is not None:
            config = replace(config, model=ModelPlan(preset=preset))
    if architecture is not None:
        config = config.with_architecture(architecture)
    if options.anywhere:
        config = replace(config, data={**config.data, "anywhere": True})
    if options.epochs is not None:
        config = replace(config, run=replace(config.run, epochs=options.epochs))
    return config.with_split(options.validate, options.validate_on), relative_to


def _config_file(path: Path) -> tuple[Path, bool]:
    """Return the file of a configuration or of a recipe, and whether it is a recipe."""
    from dolg_zoo._util.text import did_you_mean
    from dolg_zoo.training.recipes import recipe_names, recipe_path

    names = recipe_names()
    if not path.is_file() and str(path) in names:
        if path.exists():
            note(f"{path} is also a folder here; the recipe of this name is used.")
        return recipe_path(str(path)), True
    if path.is_dir():
        raise typer.BadParameter(f"{str(path)!r} is a folder: dolg train --data {path} -o OUT")
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file and no recipe {str(path)!r}.{did_you_mean(str(path), names)}"
            f" Recipes: {', '.join(names)}."
        )
    return path, False
