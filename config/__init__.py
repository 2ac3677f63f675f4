"""The presets, installed as the package ``untrained_recon.preset_files``: one YAML file each."""
