"""`python -m jobs COMMAND` is `topshelf COMMAND`, for images without the script."""

from jobs.cli import main

main()
