"""The tool's commands without the command line, one file per verb."""
