"""How fast a training step can be at best, from speeds, wires and sizes: formulas, no measuring."""
