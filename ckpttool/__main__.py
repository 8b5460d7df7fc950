"""`python -m ckpttool` is the `ckpttool` command."""

from ckpttool.cli import run

if __name__ == "__main__":
    run()
