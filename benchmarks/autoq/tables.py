"""The result as tables: on the console and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.autoq.comparison import RL, RL_SAME_WIDTHS, UNIFORM
from benchmarks.autoq.task import AUTOQ

NAMES = {AUTOQ: "AutoQ", RL_SAME_WIDTHS: "rl, bit-widths of AutoQ", RL: "rl", UNIFORM: "uniform"}
_ORDER = (AUTOQ, UNIFORM, RL_SAME_WIDTHS, RL)


class Rows(NamedTuple):
    """A table as text.

    Attributes:
        title: What it shows.
        heads: Of the columns; the first holds names.
        rows: Cells.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]


def speed(result: Mapping[str, Any]) -> Rows:
    """Policies per second of each search, by the clock and by processor time."""
    rows = []
    for name in (AUTOQ, RL_SAME_WIDTHS, RL):
        search = result["searches"][name]
        seconds = search["seconds"]
        rows.append(
            (
                NAMES[name],
                str(search["evaluations"]),
                str(search["unique"]),
                f"{seconds['preparation']:.0f}",
                f"{seconds['search']:.1f}",
                f"{search['evaluations'] / seconds['search']:.3g}",
                f"{search['unique'] / seconds['search']:.3g}",
                f"{search['unique'] / search['cpu_seconds']:.3g}",
                " to ".join(f"{value:.1f}" for value in search["load"]),
            )
        )
    heads = ("search", "scored", "unique", "prep. s", "search s", "per s", "unique/s", "unique/CPU s", "load")
    return Rows("Policies per second", heads, rows)


def quality(result: Mapping[str, Any]) -> Rows:
    """Quality of the policies, in our models and in AutoQ's simulation."""
    rows = []
    for name in _ORDER:
        if name not in result["policies"]:
            continue
        found = result["policies"][name]
        simulation = found.get("simulation", {})
        rows.append(
            (
                NAMES[name],
                f"{found['average_bits']:.3f}",
                _number(simulation.get("score")),
                *_report(simulation.get("report", {})),
                _number(found["score"]),
                *_report(found["report"]),
            )
        )
    columns = ("KL", "test KL", "agree %", "top-1 %")
    heads = ("policy", "bits", *(f"sim. {name}" for name in columns), *columns)
    return Rows("Quality", heads, rows)


def findings(result: Mapping[str, Any]) -> list[str]:
    """The aim in sentences: the ratio of speeds, whose policy is better, and when it was found."""
    searches, policies = result["searches"], result["policies"]
    rates = {name: search["unique"] / search["seconds"]["search"] for name, search in searches.items()}
    scored = {name: search["evaluations"] / search["seconds"]["search"] for name, search in searches.items()}
    cpu = {name: search["unique"] / search["cpu_seconds"] for name, search in searches.items()}
    lines = [
        f"rl scores {rates[RL] / scored[AUTOQ]:.1f} times as many policies per second as AutoQ, "
        f"{rates[RL] / rates[AUTOQ]:.1f} times as many different ones, and {cpu[RL] / cpu[AUTOQ]:.1f} times as many "
        "per second of processor time"
    ]
    for name in (RL, RL_SAME_WIDTHS):
        ratio = policies[name]["score"] / policies[AUTOQ]["score"]
        after = evaluations_until(searches[name]["best_so_far"], policies[AUTOQ]["score"])
        when = f"better after {after} of its evaluations" if after is not None else "never better"
        lines.append(f"{NAMES[name]}: {ratio:.2f} times the KL of AutoQ's policy on the search images, {when}")
    averages = searches[AUTOQ]["average_bits"]
    lines.append(
        f"AutoQ's policies have {averages['smallest']:.3f} to {averages['largest']:.3f} bits per weight and "
        f"activations of {', '.join(map(str, searches[AUTOQ]['activation_bits']))} bits; it "
        f"{'returns' if searches[AUTOQ]['returns_its_best'] else 'does not return'} the best that it scored"
    )
    return lines


def evaluations_until(best_so_far: Sequence[Sequence[float]], score: float) -> int | None:
    """After how many evaluations a search had a better policy; None if it never had.

    Args:
        best_so_far: Number of evaluations and score of each improvement.
        score: To be better than.
    """
    return next((int(count) for count, found in best_so_far if found < score), None)


def caption(result: Mapping[str, Any]) -> str:
    """Caption of the tables, a sentence for each."""
    setup = result["setup"]
    threads = f"{setup['threads']} threads, AutoQ {setup['autoq_threads']}"
    top = result["policies"]["float"]["report"].get("top1")
    return (
        f"{setup['weights']} weights in {setup['layers']} layers, at most {setup['average_bits']:g} bits on average; "
        f"{setup['calibration_images']} calibration, {setup['search_images']} search and {setup['report_images']} "
        f"test images; seed {setup['seed']}; {threads}"
        + ("" if top is None else f"; float top-1 {100 * top:.2f}")
        + ". sim.: AutoQ's own simulation; the other columns: our int8 models. load: of the machine, before to after. "
        "prep.: statistics and, for rl, the weight table; search: from the first policy to the last, sensitivities "
        "included."
    )


def to_console(rows: Rows) -> Table:
    """A table for the console."""
    table = Table(title=rows.title, title_justify="left", box=SIMPLE, padding=(0, 1))
    for index, head in enumerate(rows.heads):
        table.add_column(head, justify="right" if index else "left", no_wrap=True)
    for row in rows.rows:
        table.add_row(*row)
    return table


def to_markdown(result: Mapping[str, Any]) -> str:
    """The whole report."""
    parts = [f"# AutoQ and rl: {result['setup']['model']}", caption(result)]
    parts.append("\n".join(f"- {line}" for line in findings(result)))
    for rows in (speed(result), quality(result)):
        lines = [rows.heads, ("---", *("---:" for _ in rows.heads[1:])), *rows.rows]
        parts.append(f"## {rows.title}")
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _report(metrics: Mapping[str, float]) -> tuple[str, str, str]:
    return _number(metrics.get("kl")), _percent(metrics.get("agreement")), _percent(metrics.get("top1"))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
