"""The commands and their options.

Heavy modules are imported inside functions, so that ``--help`` is fast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from napari_diffusion.cli.options import TimeType
from napari_diffusion.cli.signals import Stop
from napari_diffusion.cli.streams import log_of_errors, prepared_streams, say, show
from napari_diffusion.workflows.store.heaps import use_one_heap


class _RunCommand(click.Command):
    """The command ``run``, whose options include those that models, recipe and execution declare.

    The models are only imported when the command is used.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return all options, those of the models after ``--fwhm``."""
        own = super().get_params(ctx)
        names = [option.name for option in own]
        models, options = 1 + names.index("fwhm"), names.index("overwrite")
        from napari_diffusion.cli.options import model_options, run_options

        before, after = own[:models], own[options:]
        return [*before, *model_options(), *own[models:options], *run_options(), *after]


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


def _debug_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        help="Show the traceback of an error.",
    )(function)


#: Options of ``run`` and ``batch`` that say what is done.
_FILTER_OPTIONS = [
    click.option(
        "--model", metavar="NAME", help="Diffusion model; `napari-diffusion models` lists them."
    ),
    click.option(
        "--recipe",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Use model, parameters and time of a recipe; lengths are converted to the unit of IN. "
        "Only a recipe can hold a map of the threshold (kappa_map).",
    ),
    click.option(
        "--as",
        metavar="FILTER",
        help="Convert a filter of another program, as in itk-gradient:conductance=3,iterations=5; "
        "`napari-diffusion models` lists them.",
    ),
    click.option(
        "--auto",
        is_flag=True,
        help="Choose model, parameters and time from the image, unless they are given; print a "
        "report.",
    ),
    click.option(
        "--share",
        multiple=True,
        type=click.Path(path_type=Path, exists=True),
        metavar="FILE",
        help="With --auto: also use FILE, or all images of a folder; repeatable.",
    ),
    click.option(
        "--noise",
        type=click.Choice(["gaussian", "rician", "poisson", "speckle"]),
        help="With --auto: kind of noise (default: estimated from the image).",
    ),
    click.option(
        "--noise-region",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="With --auto: measure the noise only where this image is neither 0 nor NaN: at a "
        "place without structure.",
    ),
    click.option(
        "--noise-reduction",
        type=float,
        metavar="FACTOR",
        help="With --auto: factor by which to reduce the standard deviation of the noise.",
    ),
    click.option(
        "--aim",
        type=click.Choice(["error", "segmentation"]),
        help="With --auto: least error (default), or even regions for a segmentation.",
    ),
    click.option(
        "--strength",
        type=float,
        metavar="S",
        help="With --auto: from -1 (gentle) over 0 (recommended) to 1 (strong).",
    ),
    click.option(
        "--time",
        type=TimeType(),
        help="Diffusion time [length²], or steady: with --fidelity-length, to the steady state.",
    ),
    click.option(
        "--smoothing-sigma",
        type=float,
        help="Instead of --time: sigma of the equivalent Gaussian [length]; time = sigma²/2.",
    ),
    click.option(
        "--fwhm",
        type=float,
        help="Instead of --time: full width at half maximum of the equivalent Gaussian [length].",
    ),
    click.option(
        "--axes",
        help="Axes to smooth along, such as ZYX or YX (default: the space axes of the file).",
    ),
    click.option(
        "--channel-axis",
        help="Letter or number of the axis of coupled channels (default: the axis of RGB samples).",
    ),
    click.option(
        "--spacing",
        help="Voxel size: a number, or one per smoothed axis as in 2,0.5,0.5 (default: from the "
        "file).",
    ),
    click.option(
        "--unit",
        help="Unit of all lengths on the command line, such as µm or mm (default: from the file).",
    ),
    click.option(
        "--mask",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Smooth only where this image is neither 0 nor NaN.",
    ),
    click.option(
        "--labels",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Smooth within each label of this image, without flux between labels; 0 is outside.",
    ),
    click.option(
        "--guide",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Take edges and directions from this image on the same grid.",
    ),
]


def _filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FILTER_OPTIONS):
        function = option(function)
    return function


@cli.command(cls=_RunCommand, short_help="Filter a file.")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@_filter_options
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option(
    "--memory",
    metavar="SIZE",
    help="Memory budget, such as 2GiB or 500MB (default: half of the free memory). A run that "
    "needs more is done in blocks if OUT is an .ome.zarr.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compute blocks in N processes, not in threads.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Compute blocks on the cluster of this scheduler of dask.distributed.",
)
@click.option(
    "--part",
    metavar="K/N",
    help="Compute one of N parts of the first unfinished pass, as a job of an array.",
)
@click.option("--restart", is_flag=True, help="Start again instead of continuing an ended run.")
@click.option("--dry-run", is_flag=True, help="Check the input and print the plan; write nothing.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@_debug_option
def run(source: Path, target: Path, **options: Any) -> None:
    """Filter the file IN and write OUT; the suffix of OUT chooses the format.

    Lengths are in the unit of the file, or in --unit: kappa in intensity/length, time in length².
    OUT keeps the metadata of IN. Its recipe is written to OUT.recipe.json.
    """
    from napari_diffusion.cli.run_file import run_file

    run_file(source, target, options, click.get_current_context().obj)


@cli.command("batch", cls=_RunCommand, short_help="Filter many files into a folder.")
@click.argument("files", metavar="[FILES]...", nargs=-1)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    required=True,
    help="Folder of the results; it is made if necessary.",
)
@click.option(
    "--list",
    "list_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Also filter the files that this text names, one a line.",
)
@click.option(
    "--name",
    default="{stem}{suffix}",
    metavar="PATTERN",
    show_default=True,
    help="Names of the results, such as '{folder}_{stem}.nii.gz'.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of files that are filtered at the same time, each in a process of its own.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Keep results that are complete, and make those whose file or settings have changed.",
)
@click.option(
    "--together",
    is_flag=True,
    help="With --auto: choose once for all files, not for each of them.",
)
@_filter_options
@click.option("--overwrite", is_flag=True, help="Replace results that exist.")
@click.option("--dry-run", is_flag=True, help="Check all files; write nothing.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@_debug_option
def batch(**options: Any) -> int:
    """Filter many FILES into a folder: files, folders, or patterns such as 'in/*.tif'.

    The other options are those of `run`. A file that fails does not end the others; all errors are
    listed at the end, and the exit code is 3.
    """
    from napari_diffusion.cli.batch import run_batch

    return run_batch(options, click.get_current_context().obj)


@cli.command("info", short_help="Show what is read from files, and what is assumed.")
@click.argument("files", metavar="FILES...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@_debug_option
def show_info(files: tuple[str, ...], as_json: bool) -> int:
    """Show what is read from FILES: axes, voxel size, unit, channels, orientation, values."""
    from napari_diffusion.cli.info import show_files

    return show_files([Path(file) for file in files], as_json=as_json)


@cli.command("models", short_help="List the models, and the filters of other programs.")
def list_models() -> None:
    """List the models and the filters of other programs, with their parameters."""
    from napari_diffusion import models, presets
    from napari_diffusion.cli.options import flag

    lines = []
    for model in models.all_models():
        lines.append(f"{model.name}: {model.title}. {model.summary}")
        rows = []
        for p in models.parameters(model):
            bounds = [
                f"{sign} {bound:g}"
                for sign, bound in ((">", p.gt), (">=", p.ge), ("<=", p.le))
                if bound is not None
            ]
            unit = f" [{p.unit_in('length')}]" if p.unit != "1" else ""
            values = " or ".join(p.choices or ()) or " and ".join(bounds)
            option = f"  {flag(p.name)}{unit}", f"default {p.default}", values, p.doc
            rows.append((f"  {p.name}", "only in a recipe", "", p.doc) if p.hidden else option)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    lines.append("Filters of other programs, for --as:")
    for preset in presets.BUILTIN:
        values = ",".join(f"{p.name}={p.default}" for p in models.parameters(preset))
        lines.append(f"  {preset.name}:{values}  {preset.title}")
    show("\n".join(lines))


@cli.command("demo", short_help="Filter a noisy sample, and show or write it.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="napari-diffusion-demo",
    show_default=True,
    help="Folder of the files.",
)
@click.option("--no-window", is_flag=True, help="Write files even if there is a display.")
@_debug_option
def show_demo(output: Path, no_window: bool) -> None:
    """Filter a noisy sample; show it in napari or, without a display, write files.

    The files are the volume before and after the filter, and a picture of both.
    """
    from napari_diffusion.cli import demo

    stop = click.get_current_context().obj
    if not no_window and demo.has_display():
        demo.show(stop)
    else:
        demo.write_files(output, stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Arguments after the name of the program; default: those of this process.

    Returns
    -------
    int
        Exit code: 0 for success, 2 for wrong input, 3 if some of many files have failed, 1 for an
        error of the program. After a signal, it is 128 plus the number of the signal: 130 after
        Ctrl-C, 143 after a termination signal, 129 after the end of the terminal. It is 141 when
        the reader of standard output has gone.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # the process is that of the command, and has no threads yet
        use_one_heap()
    stop = Stop()
    with prepared_streams() as output, stop.handling(), log_of_errors("--quiet" in words):
        try:
            code = cli.main(words, prog_name="napari-diffusion", standalone_mode=False, obj=stop)
            return code if isinstance(code, int) else 0
        except (Exception, KeyboardInterrupt, SystemExit) as raised:
            error = _unwrapped(raised)
            if stop.event.is_set() or isinstance(error, KeyboardInterrupt | click.Abort):
                stop.report()
                return stop.code
            # click ends the program with SystemExit where the reader of its output has gone.
            if output.error is not None and isinstance(error, SystemExit | OSError):
                return _code_without_output(output.error)
            if "--debug" in words:
                raise error from error.__cause__
            from napari_diffusion.cli.messages import code_and_message

            code, sentence = code_and_message(error)
            say(f"Error: {sentence}")
            return code


def _unwrapped(error: BaseException) -> BaseException:
    """Return the error itself where click reports the end of a file as Ctrl-C."""
    # Older releases of click do not name the cause.
    cause = error.__cause__ or error.__context__
    is_end_of_file = isinstance(error, click.Abort) and isinstance(cause, EOFError)
    return cause if is_end_of_file and cause is not None else error


def _code_without_output(reason: OSError) -> int:
    """Return the exit code when standard output cannot be written; a reader may have gone."""
    if isinstance(reason, BrokenPipeError):
        return 128 + 13  # as if ended by SIGPIPE, which Windows does not have
    say(f"Error: standard output cannot be written: {reason.strerror}.")
    return 1
