"""Recordings whose sound and video are files of their own, in folders of their own, found by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from extract.clips import Clip, ClipLabels
from extract.corpora.findings import Findings
from extract.corpora.media import SOUND, VIDEO, Media, find_media, folders_called, relative


@dataclass(frozen=True)
class Recordings:
    """The videos and sounds of a corpus by name: of both, of one, or none, where people have features alone."""

    root: Path
    videos: Media
    sounds: Media

    @classmethod
    def within(cls, root: Path) -> Self:
        """What lies in the folders of root that have audio or video in their names."""
        return cls(
            root, find_media(folders_called(root, "video"), VIDEO), find_media(folders_called(root, "audio"), SOUND)
        )

    @property
    def names(self) -> set[str]:
        """Every name that there is sound or video of."""
        return {*self.videos, *self.sounds}

    def clip(
        self, name: str, split: str, labels: ClipLabels | None, findings: Findings, subject: str | None = None
    ) -> Clip:
        """The clip of one name: the video is its media and a sound file its sound; with one alone, that is its media.

        A fault where it lacks what others have. Raises ValueError where two files have its name.
        """
        video, sound = self.videos.one(name), self.sounds.one(name)
        for what, mine, all_of_them in (("video", video, self.videos), ("sound file", sound, self.sounds)):
            if all_of_them and mine is None:
                findings.fault(f"clip {name} has no {what}, as others have", name)
        media = video or sound
        return Clip(
            name=name,
            media=media,
            media_name=relative(media, self.root) if media is not None else name,
            split=split,
            subject=subject,
            labels=labels,
            sound=sound if video is not None else None,
        )
