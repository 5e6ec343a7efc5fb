"""The configuration file: YAML text in, `model.Config` or every error at once out."""
