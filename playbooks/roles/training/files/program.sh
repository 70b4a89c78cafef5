#!/bin/sh
# Placed by Ansible. Runs the program of this name in the cluster's Python environment.
exec "/opt/beowulf/venv/bin/${0##*/}" "$@"
