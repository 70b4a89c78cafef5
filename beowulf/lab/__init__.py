"""A lab: real machines (User-Mode Linux) on this computer, with plugs to pull."""
