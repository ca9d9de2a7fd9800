"""A Grafana dashboard of our metrics: is it whole, is it fast, is there room."""

from typing import Any

import attrs

_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3


@attrs.frozen
class Panel:
    """One picture."""

    title: str
    expressions: dict[str, str]
    """PromQL by legend."""
    unit: str = "short"
    """Grafana's name of it."""
    is_state: bool = False
    """Shown as one coloured word instead of a curve: 1 is good, 0 is not."""


PANELS = (
    Panel("Ready: every followed book can be trusted", {"ready": "rlflow_ready"}, is_state=True),
    Panel("Every frame is accounted for", {"balances": "rlflow_accounting_balances"}, is_state=True),
    Panel("Database", {"connected": "rlflow_database_connected"}, is_state=True),
    Panel(
        "Messages a second",
        {"received": "rate(rlflow_frames_received_total[1m])", "rows": "rate(rlflow_rows_written_total[1m])"},
    ),
    Panel("Committed frames by outcome", {"{{outcome}}": "rate(rlflow_frames_committed_total[1m])"}),
    Panel("Books", {"kept": "rlflow_books", "valid": "rlflow_books_valid"}),
    Panel("Latency, socket to book", {"{{quantile}}": "rlflow_latency_quantile_seconds"}, unit="s"),
    Panel("Event loop, worst hold-up", {"lag": "rlflow_loop_lag_seconds"}, unit="s"),
    Panel("Last commit", {"commit": "rlflow_commit_seconds"}, unit="s"),
    Panel("Not in the database yet", {"backlog": "rlflow_backlog_bytes", "journal": "rlflow_journal_bytes"}, "bytes"),
    Panel("Gaps", {"rows an hour": "increase(rlflow_gap_rows_total[1h])"}),
    Panel(
        "Lost or unprotected frames",
        {
            "dropped": "increase(rlflow_frames_dropped_total[1h])",
            "unprotected": "increase(rlflow_frames_unprotected_total[1h])",
        },
    ),
    Panel("Venue, silent for", {"silent": "rlflow_feed_silent_seconds"}, unit="s"),
    Panel("Reconnects an hour", {"reconnects": "increase(rlflow_feed_reconnects_total[1h])"}),
    Panel("Self check: differences", {"differences": "rlflow_self_check_differences_total"}),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it; it asks for the Prometheus data source."""
    return {
        "__inputs": [{"name": "DS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}],
        "title": "rlflow",
        "uid": "rlflow",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "title": panel.title,
        "type": "stat" if panel.is_state else "timeseries",
        "datasource": {"type": "prometheus", "uid": "${DS}"},
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": _state_look() if panel.is_state else {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.expressions.items())
        ],
    }


def _state_look() -> dict[str, Any]:
    words = {"0": {"text": "no", "color": "red"}, "1": {"text": "yes", "color": "green"}}
    return {"mappings": [{"type": "value", "options": words}], "unit": "none"}
