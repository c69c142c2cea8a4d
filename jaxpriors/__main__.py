"""`python -m jaxpriors` is the console command."""

from jaxpriors.cli import main

main()
