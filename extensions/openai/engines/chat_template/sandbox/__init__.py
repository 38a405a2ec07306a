"""Templates run within bounds: in a sandbox, with guarded functions, under a meter."""
