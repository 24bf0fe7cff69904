"""The version of the package, where the build and the client both read it."""

__version__ = "0.1.0"
