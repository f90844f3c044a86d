# SPDX-License-Identifier: MIT
"""Checks of what a verb needs from this machine, made before anything is written or moves.

Each check exits with code 2 and one line that names what to install or to change.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from walkhome.robot.cli.errors import fail


def require_device(device: str) -> None:
    """Exit if the learner's device (`learning.device`: cpu or cuda) can't be used."""
    if device == "cpu":
        return
    # In a subprocess: the control process must not import torch.
    ask = "from walkhome.learning.cuda_sac import why_no_cuda; print(why_no_cuda())"
    command = [sys.executable, "-c", ask]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    why = done.stderr.strip().rpartition("\n")[2] if done.returncode else done.stdout.strip()
    if why or done.returncode:
        fail(f"learning.device = {device}: {why}; use --set learning.device=cpu")


def require_twin() -> None:
    """Exit if PyBullet, the physics of the simulated twin, is not installed."""
    try:
        with _quiet_stderr():
            import pybullet  # noqa: F401
    except ImportError:
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        fail(
            "the twin needs PyBullet, which has wheels for Python 3.10 and 3.11 on Linux x86_64 "
            f'(this is Python {here}): use one of those and pip install "walkhome[sim]"'
        )


def require_video() -> None:
    """Exit if ffmpeg or Pillow, which films need, is not installed."""
    for module, package in (("imageio_ffmpeg", "imageio-ffmpeg"), ("PIL", "Pillow")):
        if importlib.util.find_spec(module) is None:
            fail(f'a film needs {package}: pip install "walkhome[report]"')


def check_video(video: Path | None) -> None:
    """Exit if `video` is not a possible name of an .mp4 file."""
    if video is None:
        return
    if video.suffix.lower() != ".mp4":
        fail(f"--video {video}: use a file name that ends in .mp4")
    if video.is_dir():
        fail(f"--video {video}: is a folder; name a file")


def require_display(otherwise: str) -> None:
    """Exit if no X display answers; `otherwise` says what the user can do without one."""
    if not _display_answers():
        name = os.environ.get("DISPLAY")
        where = f": DISPLAY={name} does not answer" if name else ""
        fail(f"there is no display to open a window on{where}; {otherwise}")


def _display_answers() -> bool:
    """True if an X server answers. PyBullet would end the process instead of raising."""
    if not os.environ.get("DISPLAY"):
        return False
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return False  # PyBullet could not open a window either
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = x11.XOpenDisplay(None)
    if display:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return bool(display)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    # PyBullet prints its build time from C when it is loaded.
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
