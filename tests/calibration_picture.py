"""The picture of the calibration: the simulated market over the recorded figures, in six panels."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt  # the backend is chosen before
from matplotlib.axes import Axes

from rlflow.units import ONE_CONTRACT
from tests.market_statistics import PROFILE, Samples
from tests.market_targets import FACTOR, TARGETS

INK, SIMULATED, RECORDED, GRID = "#1f2430", "#2a6fdb", "#e4572e", "#e3e6ec"
_MOST_POINTS = 4_000
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#9aa1ad",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(samples: Samples, simulated: Mapping[str, float], path: Path) -> None:
    """Write the picture; the format is that of the file's name."""
    with plt.style.context(_STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(13, 7.6), layout="constrained")
        _activity(axes[0, 0], samples)
        _tail(axes[0, 1], samples.per_second, "deltas/s", "Deltas in a second", "deltas")
        _tail(axes[0, 2], samples.gaps_ms, "gap, ms", "Time between two deltas", "ms")
        _tail(axes[1, 0], samples.lifetimes_ms, "level lifetime, ms", "Lifetime of a level", "ms")
        _profile(axes[1, 1], samples)
        _ratios(axes[1, 2], simulated)
        figure.suptitle(
            "The simulated market (blue) and one recorded in August 2026 (red): 39 quarters of an hour",
            x=0.01,
            ha="left",
            fontsize=13,
            fontweight="bold",
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _activity(axes: Axes, samples: Samples) -> None:
    """Five minutes of counts, and what independent arrivals of the same mean would look like."""
    counts = samples.per_second[:300]
    mean = sum(counts) / len(counts)
    axes.axhspan(mean - 2 * mean**0.5, mean + 2 * mean**0.5, color="#b9c0cc", alpha=0.6, lw=0)
    axes.fill_between(range(len(counts)), counts, color=SIMULATED, alpha=0.25, lw=0)
    axes.plot(counts, color=SIMULATED, lw=0.9)
    axes.set(
        title="Five simulated minutes, deltas a second",
        xlabel="s; independent arrivals would stay in the grey band",
        xlim=(0, len(counts)),
        ylim=(0, None),
    )


def _tail(axes: Axes, values: Sequence[float], name: str, title: str, unit: str) -> None:
    """The share of values above x; the recorded quantiles are points of the same curve."""
    ordered = sorted(values)
    steps = [number * (len(ordered) - 1) // _MOST_POINTS for number in range(_MOST_POINTS + 1)]
    # The rare ones are drawn one by one.
    steps += range(max(len(ordered) - 2_000, 0), len(ordered))
    points = sorted(set(steps))
    axes.plot([max(ordered[n], 0.5) for n in points], [1 - n / len(ordered) for n in points], color=SIMULATED, lw=2)
    for target in TARGETS:
        if target.name.startswith(f"{name}, ") and target.name.endswith(" %") and target.recorded > 0:
            share = 1 - float(target.name.removeprefix(f"{name}, ").removesuffix(" %")) / 100
            if share > 0:
                axes.plot(target.recorded, share, "o", color=RECORDED, ms=6, mec="white", mew=0.8, zorder=3)
    axes.set(title=title, xlabel=unit, ylabel="share above", xscale="log", yscale="log", ylim=(3e-4, 1.3))


def _profile(axes: Axes, samples: Samples) -> None:
    """The median level, and where half of them lie, by distance from the best."""
    rows = [sorted(size / ONE_CONTRACT for size in samples.profile[cents]) for cents in PROFILE]
    low, middle, high = ([row[len(row) * part // 4] for row in rows] for part in (1, 2, 3))
    axes.fill_between(PROFILE, low, high, color=SIMULATED, alpha=0.2, lw=0)
    axes.plot(PROFILE, middle, color=SIMULATED, lw=2)
    medians = [target.recorded for target in TARGETS if target.name.startswith("median ")]
    axes.plot(PROFILE, medians, "o", color=RECORDED, ms=6, mec="white", mew=0.8)
    axes.set(title="Contracts at a level: median and half of them", xlabel="cents behind the best")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(0, 1_000)


def _ratios(axes: Axes, simulated: Mapping[str, float]) -> None:
    """Every figure, simulated over recorded; jittered across so that none hides another."""
    jitter = random.Random(1)
    ratios = [simulated.get(target.name, 0.0) / target.recorded for target in TARGETS if target.recorded > 0]
    axes.axhspan(1 / FACTOR, FACTOR, color=SIMULATED, alpha=0.12, lw=0)
    axes.axhline(1, color=INK, lw=0.8)
    shown = [min(max(ratio, 0.4), 2.5) for ratio in ratios]
    axes.plot([jitter.random() for _ in shown], shown, "o", color=SIMULATED, ms=5, alpha=0.75, mec="white", mew=0.5)
    axes.set(title=f"All {len(TARGETS)} figures: simulated over recorded", xticks=[], yscale="log", ylim=(0.38, 2.65))
    axes.set_yticks([0.5, 1 / FACTOR, 1, FACTOR, 2], ["1/2", "1/1.5", "1", "1.5", "2"])
    axes.minorticks_off()
