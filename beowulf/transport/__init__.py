"""Run a command and move files, on this computer or on another."""
