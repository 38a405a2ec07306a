"""The ways into its loaders."""
