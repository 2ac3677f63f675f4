"""The presets, installed as the package ``untrained_recon.presets``: one YAML file each."""
