"""`python -m nncf_mcq.cli`."""

from nncf_mcq.cli import main

main()
