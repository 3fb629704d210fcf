"""The commands and their options. Heavy modules are imported where they are used, so that ``--help`` comes at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from napari_diffusion.cli.signals import Stop


class _RunCommand(click.Command):
    """``run`` has the parameters of all models as options; they are only looked up when ``run`` is used."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        place = 1 + [option.name for option in own].index("fwhm")
        from napari_diffusion.cli.options import model_options

        return own[:place] + model_options() + own[place:]


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="napari-diffusion")
@click.pass_context
def cli(context: click.Context) -> None:
    """Smooth microscopy and MRI volumes by diffusion."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _debug(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        help="Show where in the program an error was raised.",
    )(function)


@cli.command(cls=_RunCommand)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--model", metavar="NAME", help="Diffusion model; `napari-diffusion models` lists them."
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Model, parameters and time, converted to the unit of IN.",
)
@click.option(
    "--auto",
    is_flag=True,
    help="Choose from the image what is not given here: model, thresholds, scales, time; says why.",
)
@click.option(
    "--share",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="--auto for IN and this too.",
)
@click.option(
    "--noise",
    type=click.Choice(["gaussian", "rician", "poisson", "speckle"]),
    help="Kind of noise for --auto; default: as seen.",
)
@click.option(
    "--noise-reduction",
    type=float,
    metavar="FACTOR",
    help="With --auto: smooth until the noise is this many times weaker.",
)
@click.option("--time", type=float, help="Diffusion time [length²].")
@click.option(
    "--smoothing-sigma",
    type=float,
    help="Instead of --time: the Gaussian sigma it is equivalent to [length], time = sigma²/2.",
)
@click.option(
    "--fwhm",
    type=float,
    help="Instead of --time: the full width at half maximum of that Gaussian [length].",
)
@click.option(
    "--axes",
    help="Axes to smooth along, such as ZYX or YX. Default: the file's space axes; time is never smoothed by default.",
)
@click.option(
    "--channel-axis",
    help="Axis, by letter or number, whose values share one diffusivity. Default: the axis of RGB samples.",
)
@click.option(
    "--spacing",
    help="Voxel size, one number or one per smoothed axis, such as 2,0.5,0.5. Default: the file's.",
)
@click.option(
    "--unit", help="Unit of all lengths given here, such as µm or mm. Default: the file's."
)
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Smooth only where this image is not 0.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Smooth inside each label only; 0 is outside.",
)
@click.option(
    "--nan",
    type=click.Choice(["raise", "mask"]),
    help="Refuse NaN and infinite values (default), or diffuse around them.",
)
@click.option("--scheme", metavar="NAME", help="Time integration (default: auto).")
@click.option(
    "--tolerance",
    type=float,
    help="Error in time to aim at, as a share of the intensity range (default: 0.001).",
)
@click.option(
    "--strict", is_flag=True, help="Guarantee that no value leaves the range of the input."
)
@click.option(
    "--preserve-dtype",
    is_flag=True,
    help="Round and saturate to the data type of the file; default: floating point.",
)
@click.option(
    "--threads",
    type=int,
    help="Number of threads (default: all processors); it does not change the result.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT when it exists.")
@click.option(
    "--dry-run", is_flag=True, help="Check everything and say what would be done, and do nothing."
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@_debug
def run(source: Path, target: Path, **options: Any) -> None:
    """Filter the file IN and write OUT, in the format that the end of its name tells.

    Lengths are in the file's unit, or in --unit; kappa is in intensity/length and time in length². OUT keeps the header of IN, and
    OUT.recipe.json says how it was made.
    """
    from napari_diffusion.cli.pipeline import run_file

    run_file(source, target, options, click.get_current_context().obj)


@cli.command("models")
def list_models() -> None:
    """List the models with their parameters."""
    from napari_diffusion import models
    from napari_diffusion.cli.options import flag

    for model in models.all_models():
        click.echo(f"{model.name}: {model.title}. {model.summary}")
        rows = []
        for p in models.parameters(model):
            bounds = [
                f"{sign} {bound:g}"
                for sign, bound in ((">", p.gt), (">=", p.ge), ("<=", p.le))
                if bound is not None
            ]
            unit = f" [{p.unit_in('length')}]" if p.unit != "1" else ""
            rows.append(
                (
                    f"  {flag(p.name)}{unit}",
                    f"default {p.default}",
                    " or ".join(p.choices or ()) or " and ".join(bounds),
                    p.doc,
                )
            )
        for row in rows:
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            click.echo(
                "  ".join(
                    f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)
                ).rstrip()
            )
        click.echo()


@cli.command("demo")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="napari-diffusion-demo",
    show_default=True,
    help="Folder for the files.",
)
@click.option("--no-window", is_flag=True, help="Write files even where there is a display.")
@_debug
def show_demo(output: Path, no_window: bool) -> None:
    """Filter a real MRI volume, and show it in napari or, without a display, write it and a picture."""
    from napari_diffusion.cli import demo

    if not no_window and demo.has_display():
        demo.show()
    else:
        demo.write_files(output, click.get_current_context().obj)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Words after the program's name; default those of this process.

    Returns
    -------
    int
        Exit code: 0, 2 for wrong input, 1 for an error of the program, 130 after Ctrl-C, 143 after a request to end.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    stop, restore = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        restore = {
            number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)
        }
    try:
        cli.main(words, prog_name="napari-diffusion", standalone_mode=False, obj=stop)
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if stop.event.is_set() or isinstance(error, KeyboardInterrupt | click.Abort):
            click.echo("Cancelled; nothing was written.", err=True)
            return 128 + stop.number
        if "--debug" in words:
            raise
        code, sentence = _explain(error)
        click.echo(f"Error: {sentence}", err=True)
        return code
    finally:
        for number, handler in restore.items():
            signal.signal(number, handler)


def _explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and one sentence for an error."""
    from napari_diffusion.io import MissingLibraryError

    if isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}."
    elif isinstance(error, ValueError | TypeError | MemoryError | OSError | MissingLibraryError):
        text = str(error) or type(error).__name__
    else:
        return (
            1,
            f"{type(error).__name__}: {' '.join(str(error).split())} (this is a fault of the program; --debug shows where)",
        )
    return 2, " ".join(text.split())
