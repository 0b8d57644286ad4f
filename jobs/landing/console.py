"""Print what the night would make of landed files: a row a file, its findings, and whether the night goes on."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.table import Table

from jobs.config.terminal import Terminal
from jobs.landing.check import FileCheck, LandingCheck

MANY_FILES = 40
"""From so many files on, those without a finding stand in one row a table."""
EXAMPLE_CHARACTERS = 100


def print_check(check: LandingCheck) -> None:
    """Print a table by file, then each finding with its line and an example, then what stops the night."""
    terminal = Terminal()
    told, quiet = check.files, list[FileCheck]()
    if len(check.files) > MANY_FILES:
        told = [of for of in check.files if of.error or _findings(of)]
        quiet = [of for of in check.files if not (of.error or _findings(of))]
    table = Table(title="What the night would make of the landed files", title_justify="left")
    table.add_column("file", overflow="fold")
    for name in ("rows", "kept", "repeated", "set aside", "cells not read"):
        table.add_column(name, justify="right")
    for file in told:
        table.add_row(_name(file), *_counts([file]))
    for name in ("events", "items", "users"):
        of_table = [of for of in quiet if of.file.table == name]
        if of_table:
            table.add_row(f"{name}: {len(of_table):,} files without a finding", *_counts(of_table))
    terminal.print(table)
    for (name, columns), count in Counter(map(_columns, check.files)).items():
        if columns:
            terminal.print(f"{name}: {count:,} files have {', '.join(columns)}", soft_wrap=True)
    for file in told:
        for finding in _findings(file):
            terminal.print(f"{_name(file)}: {finding}", soft_wrap=True)
    for line in filter(None, (embedding_lengths(check.files), f"few events: {check.few}" if check.few else "")):
        terminal.print(line, soft_wrap=True)
    for why in check.stops:
        terminal.print(f"stops the night: {why}", soft_wrap=True)
    if not check.stops:
        terminal.print("The night would take these files.")


def embedding_lengths(checks: Sequence[FileCheck]) -> str:
    """Return in words how many rows of items have an embedding, by its length; empty where none has."""
    counted = sum((of.embeddings for of in checks), Counter[int]()).most_common()
    told = ", ".join(f"{length:,} numbers in {count:,} rows" for length, count in counted)
    several = "; a night uses the length that most products have" if len(counted) > 1 else ""
    return f"items: embedding of {told}{several}" if counted else ""


def _name(check: FileCheck) -> str:
    return f"{check.file.table}/ds={check.file.ds}/{check.file.name}"


def _columns(check: FileCheck) -> tuple[str, tuple[str, ...]]:
    """Return a file's table and those of our columns that it has; none of jsonl, whose rows may differ."""
    is_known = check.found is not None and check.file.format != "jsonl"
    plans = check.found.plans if check.found is not None and is_known else []
    return check.file.table, tuple(ours for plan in plans for ours, _ in plan.columns)


def _counts(checks: Sequence[FileCheck]) -> Iterator[str]:
    counts = [check.counts for check in checks]
    for numbers in (
        [of.landed for of in counts],
        [of.kept for of in counts],
        [of.repeated for of in counts],
        [of.set_aside_count for of in counts],
        [sum(of.unread.values()) for of in counts],
    ):
        yield f"{sum(numbers):,}"


def _findings(check: FileCheck) -> list[str]:
    """Return in words what is to be known of a file that can be read."""
    found, counts = check.found, check.counts
    told = []
    if found is not None:
        if found.unknown:
            told.append(f"passed over {', '.join(sorted(found.unknown))}")
        told += [f"took {what}" for what in sorted(found.renamed)]
        told += [f"guessed {what}" for what in sorted(found.guessed)]
    for reason, count in sorted(counts.set_aside.items()):
        example = check.examples.get(reason)
        where = "" if example is None else f", such as line {example.line}: {example.raw[:EXAMPLE_CHARACTERS]}"
        column = f" in {example.column}" if example is not None and example.column else ""
        told.append(f"set aside {count:,} rows: {reason}{column}{where}")
    return told + counts.unread_in_words()
