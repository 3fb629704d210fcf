"""Code that runs in a separate Python process."""

import json
import os
import subprocess
import sys
import textwrap


def python(code, *arguments, **environment):
    """Run code in a new Python process and return the JSON that it prints."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
