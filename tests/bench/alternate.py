"""Runs the sides of a comparison alternately, so that a busy neighbour slows all of them, and prints the medians."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Comparison:
    """How fast a side is against another one: seconds of every round, in turns."""

    name: str
    against: str
    seconds: tuple[float, ...]
    seconds_against: tuple[float, ...]
    aim: float | None

    @property
    def ratio(self) -> float:
        """1: as fast as the other side; more: faster."""
        return statistics.median(self.seconds_against) / statistics.median(self.seconds)


def alternate(
    what: str,
    base: str,
    sides: Mapping[str, Callable[[], float]],
    aims: Mapping[str, float | None] | None = None,
    rounds: int = 7,
) -> list[Comparison]:
    """Run each side once a round. A side returns the seconds that count. `base` is the one that others are held to."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side())
    print(f"\n{what}: {base} {_said(seconds[base])}, load {os.getloadavg()[0]:.1f}")
    found = []
    for name in sides:
        if name == base:
            continue
        aim = (aims or {}).get(name)
        made = Comparison(f"{what}: {name}", base, tuple(seconds[name]), tuple(seconds[base]), aim)
        wanted = "" if aim is None else f"   aim {aim:.2f}"
        print(f"  {name:28s} {_said(seconds[name])}   ratio {made.ratio:6.2f}{wanted}", flush=True)
        found.append(made)
    return found


def _said(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.3f} s ({min(seconds):.3f}-{max(seconds):.3f})"


def machine() -> str:
    """Date, processor, cores in one line."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    return f"{date.today()}, {model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.system()}"


def as_json(comparisons: list[Comparison]) -> str:
    """One line: {"name": {"ratio": x, "aim": y}, ...}."""
    return json.dumps({c.name: {"ratio": round(c.ratio, 3), "aim": c.aim} for c in comparisons})
