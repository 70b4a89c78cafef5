"""Ask the cluster how it is: commands, and pure parsers of what they print."""
