"""The commands: parse, call one engine function, print. Nothing else in the package prints."""
