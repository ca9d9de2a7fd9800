"""How near the simulated market is to a recorded one: `just calibrate`, or `python -m tests.calibrate --help`.

Prints each figure of `tests.market_targets` as recorded (39 windows), as measured by the same code on the ten of those
windows that lie beside the project, if they do, and as simulated. Draws a picture of it on request.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from tests.market_statistics import Samples, Stream, figures
from tests.market_targets import FACTOR, TARGETS
from tests.recorded_streams import streams, windows
from tests.simulated_streams import SEEDS, stream


def measure(observed: Iterable[Stream]) -> Samples:
    """Return what streams show."""
    samples = Samples()
    for each in observed:
        samples.observe(each)
    return samples


def table(measured: Mapping[str, float], simulated: Mapping[str, float]) -> list[str]:
    """Return the lines to print; a star marks what is off by more than the factor."""
    lines = [f"{'':36}{'recorded':>10}{'here':>10}{'simulated':>10}{'ratio':>8}"]
    for target in TARGETS:
        here, value = measured.get(target.name), simulated.get(target.name, 0.0)
        ratio = f"{value / target.recorded:8.2f}" if target.recorded else f"{'':8}"
        mark = "" if target.is_met(value) else " *"
        lines.append(f"{target.name:36}{_number(target.recorded)}{_number(here)}{_number(value)}{ratio}{mark}")
    met = sum(target.is_met(simulated.get(target.name, 0.0)) for target in TARGETS)
    return [*lines, f"{met} of {len(TARGETS)} within a factor of {FACTOR}"]


def _number(value: float | None) -> str:
    if value is None:
        return f"{'-':>10}"
    return f"{value:10,.0f}" if abs(value) >= 100 else f"{value:10.1f}"


@attrs.frozen
class Options:
    """What the command line says."""

    picture: Path | None


def options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="calibrate", description=__doc__)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it, as PNG or SVG")
    return Options(parser.parse_args().picture)


def main() -> None:
    """Measure, print, draw."""
    chosen = options()
    measured = figures(measure(each for path in windows() for each in streams(path))) if windows() else {}
    samples = measure(stream(seed) for seed in SEEDS)
    simulated = figures(samples)
    sys.stdout.write("".join(f"{line}\n" for line in table(measured, simulated)))
    if chosen.picture is not None:
        # Takes a second to import, which the table need not wait for.
        from tests.calibration_picture import draw  # noqa: PLC0415

        draw(samples, simulated, chosen.picture)


if __name__ == "__main__":
    main()
