"""The sandbox of commands: reading untrusted files and running untrusted graphs in a confined child process."""
