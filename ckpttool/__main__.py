"""`python -m ckpttool` is the `ckpttool` command."""

from ckpttool.cli import main

if __name__ == "__main__":
    main(prog_name="ckpttool")
