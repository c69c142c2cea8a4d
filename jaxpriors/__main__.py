"""`python -m jaxpriors` is the console command."""

from jaxpriors.cli.main import main

main()
