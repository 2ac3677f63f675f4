"""Cartesian MRI on tensors: operators, coil sensitivities, noise. Knows no files and no scanners."""
