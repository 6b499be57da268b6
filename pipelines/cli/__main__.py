"""`python -m pipelines.cli` is `tandem`."""

from pipelines.cli.main import main

main()
