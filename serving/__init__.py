"""Everything that runs a bundle: the contract with export, the engine, the wire protocol, the server and its client."""
