# SPDX-License-Identifier: MIT
"""Writes pictures into an MP4 file that every browser plays: H.264, yuv420p, index first.

imageio-ffmpeg brings its own ffmpeg, which reads the pictures from a pipe. The file gets its final
name only when it is complete, so a crash leaves none. Before that it is read back, because
imageio-ffmpeg does not check ffmpeg's exit code, and ffmpeg writes most of a short film at its end.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

VIDEO_SIZE = (640, 480)  # width, height in pixels; yuv420p requires even numbers


class VideoError(RuntimeError):
    """The film cannot be written."""


class Mp4Writer:
    """Writes pictures into one MP4 file.

    Args:
        path: path of the .mp4 file; replaced when the film is complete.
        fps: pictures per second.
        size: width and height, pixels.
        quality: ffmpeg's CRF; lower means better quality and a larger file.

    Raises:
        ImportError: imageio-ffmpeg is not installed.
        VideoError: the folder cannot be written, or ffmpeg does not start.
    """

    def __init__(
        self, path: Path, fps: float, size: tuple[int, int] = VIDEO_SIZE, quality: int = 24
    ) -> None:
        import imageio_ffmpeg

        self._path, self._size, self._pictures, self._failed = path, size, 0, False
        self._draft = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._draft.touch()
        except OSError as error:
            raise VideoError(f"{path}: can't be written: {error.strerror}") from None
        self._pipe: Generator[None, Picture, None] = imageio_ffmpeg.write_frames(
            str(self._draft),
            size,
            fps=fps,
            codec="libx264",
            pix_fmt_out="yuv420p",
            quality=None,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", str(quality), "-movflags", "+faststart"],
        )
        try:
            self._pipe.send(None)
        except (OSError, RuntimeError) as error:
            self._draft.unlink(missing_ok=True)
            raise VideoError(f"{path}: ffmpeg does not start: {error}") from None

    def add(self, picture: Picture) -> None:
        """Append a picture, (height, width, 3) uint8 RGB.

        Raises:
            ValueError: the picture has another size or type.
            VideoError: ffmpeg failed.
        """
        if picture.shape != (self._size[1], self._size[0], 3) or picture.dtype != np.uint8:
            raise ValueError(
                f"expected a uint8 picture of {self._size[1]} x {self._size[0]} x 3, got "
                f"{picture.dtype} {picture.shape}"
            )
        try:
            self._pipe.send(np.ascontiguousarray(picture))
        except OSError as error:
            self._failed = True
            raise VideoError(f"{self._path}: {error}") from None
        self._pictures += 1

    def close(self) -> None:
        """Finish the film and give it its final name.

        Raises:
            VideoError: ffmpeg failed; there is no film then.
        """
        self._pipe.close()
        if self._failed or not self._whole():
            self._draft.unlink(missing_ok=True)
            raise VideoError(f"{self._path}: ffmpeg wrote no film; is the disk full?")
        self._draft.replace(self._path)

    def _whole(self) -> bool:
        import imageio_ffmpeg

        try:
            pictures, _ = imageio_ffmpeg.count_frames_and_secs(str(self._draft))
        except RuntimeError:  # ffmpeg can't read it
            return False
        return bool(pictures == self._pictures)

    def discard(self) -> None:
        """End without leaving a film."""
        self._pipe.close()
        self._draft.unlink(missing_ok=True)
