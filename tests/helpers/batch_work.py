"""Work for the jobs of a batch, which other processes import."""

import os

from napari_diffusion.workflows.batch import Outcome, Status


def copy(job, cancel):
    """Copy a file with a recipe beside it; some contents mean something else."""
    content = job.source.read_text()
    if content == "end the process":
        os._exit(1)
    if content == "wait for the end":
        while not cancel.is_set():
            pass
        return Outcome(job, Status.CANCELLED)
    if content == "needs memory" and job.limit is not None:
        return Outcome(job, Status.NEEDS_MEMORY, "it needs more")
    job.target.write_text(content)
    job.target.with_name(job.target.name + ".recipe.json").write_text("{}")
    return Outcome(job, Status.DONE)
