"""What a caller in Python uses: arrays and files in, images out. The public names are those of the package itself."""
