"""The controller over HTTP: `broodline serve`, and the client that a store URL of the scheme `http` or `https` opens."""
