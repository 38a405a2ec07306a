"""HTTP below the pages: strict where waitress is not, bounded in time, refusing in our words."""
