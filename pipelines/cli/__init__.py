"""The command line: parses, calls a stage, prints, and turns errors into exit codes."""
