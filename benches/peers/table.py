"""The section of docs/BENCHMARKS.md that a run writes: ratios first, then medians, then what was left out and why."""

import datetime
import os
import platform
import statistics

from environment import DOCUMENT

BEGIN = "<!-- peers: begin; written by `just bench peers` -->"
END = "<!-- peers: end -->"


class Results:
    """What was measured, by row and broker."""

    def __init__(self, rows, kinds, records):
        self.rows = rows
        self.kinds = kinds
        self.records = records
        self.notes = []

    def reports(self, row, kind):
        return [
            record["report"]
            for record in self.records
            if record["row"] == row.name and record["broker"] == kind and record.get("report")
        ]

    def values(self, row, kind, figure):
        found = [report.get(figure.key) for report in self.reports(row, kind)]
        return [value * figure.scale for value in found if value is not None]

    def median(self, row, kind, figure):
        values = self.values(row, kind, figure)
        return statistics.median(values) if values else None

    def note(self, text):
        """The mark of a footnote; the same words have one."""
        if text not in self.notes:
            self.notes.append(text)
        return f"<sup>{self.notes.index(text) + 1}</sup>"

    def why_not(self, row, kind):
        """Why there is no value."""
        if kind in row.without:
            return f"{kind}: {row.without[kind]}"
        reasons = [
            record["reason"]
            for record in self.records
            if record["row"] == row.name and record["broker"] == kind and record.get("reason")
        ]
        return f"{kind}: {reasons[-1]}" if reasons else None

    def ratio(self, row, kind, figure):
        ours, theirs = self.median(row, "Dunlin", figure), self.median(row, kind, figure)
        if ours is None or theirs is None:
            why = self.why_not(row, kind)
            return "-" + (self.note(why) if why else "")
        over, under = (theirs, ours) if figure.less else (ours, theirs)
        return short(over / under) if under > 0 else "-"

    def cell(self, row, kind, figure):
        values = self.values(row, kind, figure)
        if not values:
            why = self.why_not(row, kind)
            return "-" + (self.note(why) if why else "")
        spread = f" ({short(min(values))}-{short(max(values))})" if len(values) > 1 else ""
        return short(statistics.median(values)) + spread + self.faults(row, kind)

    def faults(self, row, kind):
        """What went wrong with messages in runs whose figures stand all the same."""
        reports = self.reports(row, kind)
        lost = max((report["lost"] / max(report["expected"], 1) for report in reports), default=0)
        twice = max((report["duplicates"] for report in reports), default=0)
        open_ = max((report["unacknowledged"] for report in reports), default=0)
        marks = ""
        if lost > 0:
            marks += self.note(f"{kind}, {row.name}: up to {percent(lost)} of the messages did not come")
        if twice > 0:
            marks += self.note(f"{kind}, {row.name}: up to {twice:,} messages came twice or out of order")
        if open_ > 0:
            marks += self.note(f"{kind}, {row.name}: up to {open_:,} messages were not acknowledged")
        return marks


def percent(share):
    return f"{100 * share:.2g} %" if share < 0.995 else "all"


def short(value):
    """Three digits, with a unit of thousands."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return digits(value / size) + unit
    return digits(value)


def digits(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(results, run):
    kinds = results.kinds
    others = [kind for kind in kinds if kind != "Dunlin"]
    lines = [
        f"Measured on {run['when']} with {run['cores']} cores of one machine that the load shared, {run['system']}: each row "
        f"{run['times']} times, the brokers by turns and each started anew, {run['secs']} s after {run['warm']} s of warming up, "
        f"64-byte payloads where nothing else is said. Other programs took {digits(run['other_median'])} cores at the median of "
        f"all runs and {digits(run['other_max'])} at the most.",
        "",
        "### Ratios",
        "",
        "Dunlin's median over the other's, or the other's over Dunlin's where less is better: above 1 Dunlin does more, or needs "
        "less. `relay` is no broker but the machine's limit.",
        "",
        "| Row | Figure | " + " | ".join(others) + " |",
        "|---|---|" + "---|" * len(others),
    ]
    for row in results.rows:
        for figure in row.figures:
            cells = [results.ratio(row, kind, figure) for kind in others]
            lines.append(f"| {row.name} | {figure.title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "### Medians",
        "",
        "Each with the lowest and the highest of its runs.",
        "",
        "| Row | Figure | " + " | ".join(kinds) + " |",
        "|---|---|" + "---|" * len(kinds),
    ]
    for row in results.rows:
        for figure in row.figures:
            cells = [results.cell(row, kind, figure) for kind in kinds]
            lines.append(f"| {row.name} | {figure.title} | " + " | ".join(cells) + " |")
    if results.notes:
        lines += ["", "A dash is a row that this one has no part in, or did not finish:", ""]
        lines += [f"{number}. {text}" for number, text in enumerate(results.notes, 1)]
    lines += ["", "### Rows", "", "| Row | What the clients do | Load |", "|---|---|---|"]
    for row in results.rows:
        lines.append(f"| {row.name} | {row.meaning or 'likewise'} | `load {row.load}` |")
    lines += ["", "### Versions and configurations", "", "| Broker | Version | Configuration |", "|---|---|---|"]
    for kind in kinds:
        version = run["versions"].get(kind, "")
        lines.append(f"| {kind} | {version} | {run['about'].get(kind, '')} |")
    lines += [f"| {kind} | - | {why} |" for kind, why in run["missing"].items()]
    return "\n".join(lines) + "\n"


def described(kinds, records, arguments, versions, missing):
    """What a reader must know of a run."""
    reports = [record["report"] for record in records if record.get("report")]
    other = [report["other_cores"] for report in reports] or [0]
    return {
        "when": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "times": arguments.times,
        "secs": arguments.secs,
        "warm": arguments.warm,
        "other_median": statistics.median(other),
        "other_max": max(other),
        "versions": versions,
        "about": {kind.name: kind.about for kind in kinds},
        "missing": missing,
    }


def write(text):
    """Into the document, between its marks."""
    document = DOCUMENT.read_text()
    head, rest = document.split(BEGIN)
    _, tail = rest.split(END)
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}")
