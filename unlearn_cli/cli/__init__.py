"""The commands parse options, call the engine and print. No other part of the package prints."""
