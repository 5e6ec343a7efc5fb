"""`python -m bgproxy` is the `bgproxy` command."""

from bgproxy.cli.main import main

main()
