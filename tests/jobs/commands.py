"""Run a command of `topshelf` within the test's process: errors stay exceptions, output goes where pytest sees it."""

from jobs.cli import app


def topshelf(*words: object) -> None:
    """Run `topshelf WORD …`.

    Raises:
        The command's own errors, as they are before the command line turns them into one line.
    """
    app([str(word) for word in words], standalone_mode=False)
