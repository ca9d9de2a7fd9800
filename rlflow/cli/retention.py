"""`retention`: old days out of a store."""

import re
import time

import click

from rlflow.cli.options import env_option, open_store
from rlflow.cli.wording import counted
from rlflow.data.store.partitions import day_of_partition
from rlflow.data.upkeep.retention import RetentionPlan, first_day_kept, plan_retention, retire


class Days(click.ParamType[int]):
    """A number of days: 30d."""

    name = "days"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([1-9]\d{0,4})d", value, re.ASCII)
        if match is None:
            self.fail(f"{value!r} is no number of days such as 30d", param, ctx)
        return int(match.group(1))


@click.command()
@click.option("--keep", "keep_days", type=Days(), required=True, help="So many days besides today, such as 30d.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@env_option
@click.pass_context
def retention(context: click.Context, keep_days: int, dry_run: bool, environment: str | None) -> None:
    """Drop what was received on UTC days before those to keep, for good.

    Whole days go, beside a running service; what holds them open for long makes it fail, to be tried again. Every
    moment of the days that stay can still be rebuilt. The service does the same by itself with RL_RETENTION_DAYS.
    """
    before = first_day_kept(time.time_ns(), keep_days)
    with open_store(context, environment) as database:
        plan = plan_retention(database, before)
        click.echo(describe(plan))
        if dry_run:
            return
        retired = retire(database, before)
    click.echo(
        f"dropped {counted(len(retired.partitions), 'partition')}, {counted(retired.gaps, 'gap')}, "
        f"{counted(retired.rejected, 'rejected frame')}, {counted(retired.captures, 'capture')}; "
        f"{counted(retired.carried_over, 'book')} carried over into {before}"
    )


def describe(plan: RetentionPlan) -> str:
    """Return what is too old."""
    days = len({day_of_partition(name) for name in plan.partitions})
    return (
        f"before {plan.before}: {counted(days, 'day')} in {counted(len(plan.partitions), 'partition')}, "
        f"{plan.bytes / 2**20:,.1f} MiB, {counted(plan.captures, 'capture')}"
    )
